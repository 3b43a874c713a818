//! What stands above step 6: arrows lead downwards there, too.

use std::fs;

use harness::programs::workspace;

/// The packages, where they are, and which others of them they stand on.
const WINGS: [(&str, &str, &[&str]); 5] = [
    ("step06-image", "image", &[]),
    ("step06-life", "life", &[]),
    ("step06-network", "network", &[]),
    (
        "box",
        "box",
        &["step06-image", "step06-life", "step06-network"],
    ),
    ("step06-oci", "oci", &["step06-network"]),
];

/// Where they are, from the top of the workspace.
pub(super) const PLACES: [&str; 5] = [
    "step06-full/image",
    "step06-full/life",
    "step06-full/network",
    "step06-full/box",
    "step06-full/oci",
];

/// A manifest, by the directory of its package.
fn manifest(directory: &str) -> String {
    let path = workspace().join(directory).join("Cargo.toml");
    let text = fs::read_to_string(&path);
    text.unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

/// The wings that a package names in its manifest: as dependencies, whatever
/// they are for.
fn wings_in(manifest: &str) -> Vec<&str> {
    let is_named = |wing: &str| {
        manifest.lines().any(|line| {
            let key = line.split([' ', '=', '.']).next().unwrap_or_default();
            let other_name = format!("package = \"{wing}\"");
            key == wing || line.contains(&other_name)
        })
    };
    let names = WINGS.iter().map(|(name, ..)| *name);
    names.filter(|name| is_named(name)).collect()
}

/// `image`, `life` and `network` don't know each other; `box` puts them
/// together, and the runtime moves interfaces as `network` does.
pub(super) fn a_wing_knows_only_what_is_below_it() {
    for (name, place, below) in WINGS {
        let manifest = manifest(&format!("step06-full/{place}"));
        assert!(manifest.contains(&format!("name = \"{name}\"\n")), "{name}");
        assert_eq!(wings_in(&manifest), below, "{name}");
    }
}

/// Whoever builds the steps builds none of the wings, and none of the libraries
/// that only these need.
pub(super) fn no_step_needs_a_wing() {
    let workspace = manifest(".");
    let list = |name: &str| {
        let (_, list) = workspace
            .split_once(&format!("\n{name} = ["))
            .expect("it is there");
        let (list, _) = list.split_once(']').expect("it has an end");
        let places = list.split('"').skip(1).step_by(2).map(str::to_owned);
        places.collect::<Vec<String>>()
    };
    let by_default = list("default-members");
    assert!(by_default.contains(&"step06-full".to_owned()));
    for place in &by_default {
        assert_eq!(wings_in(&manifest(place)), [""; 0], "{place}");
        assert!(!place.starts_with("step06-full/"), "{place}");
    }
    // A new one is not overlooked here.
    let above = list("members").into_iter();
    let mut above: Vec<String> = above
        .filter_map(|it| it.strip_prefix("step06-full/").map(str::to_owned))
        .collect();
    let mut known: Vec<&str> = WINGS.iter().map(|(_, it, _)| *it).collect();
    above.sort();
    known.sort_unstable();
    assert_eq!(above, known);
}
