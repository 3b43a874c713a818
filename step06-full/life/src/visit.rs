//! A visit to the files of a container that has ended.

use std::{env, path::PathBuf};

use anyhow::bail;

use crate::{
    Container, Place,
    kept::LAYER,
    lock::{Look, look},
};

/// Which container somebody visits: set for the program that does it.
pub const VISIT: &str = "CONTAINER_TO_VISIT";

/// Who visits. Until it is dropped, the container can't be started.
pub struct Visitor {
    layer: PathBuf,
    _lock: Look,
}

impl Visitor {
    pub(crate) fn of_environment(
        place: &Place,
    ) -> anyhow::Result<Option<Visitor>> {
        let Ok(name) = env::var(VISIT) else {
            return Ok(None);
        };
        let container = Container::find(place, &name)?;
        let lock = look(&container.lasting())?;
        match lock {
            Look::Free(_) => container.check_name_is_its_own()?,
            Look::Taken => bail!("container {name} is being started"),
            Look::Gone => bail!("container {name} is gone"),
        }
        Ok(Some(Visitor {
            layer: container.lasting().join(LAYER),
            _lock: lock,
        }))
    }

    /// Where what the container writes is kept.
    pub fn upper(&self) -> PathBuf {
        self.layer.clone()
    }
}
