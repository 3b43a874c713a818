//! What an interface is called in the namespace that it is moved into.

use anyhow::{Context, ensure};

/// The name that it gets: the kernel would find out that it is taken when the
/// interface has been moved already.
pub(crate) fn free_name(
    wanted: &str,
    taken: &[String],
) -> anyhow::Result<String> {
    let is_free = |name: &String| !taken.contains(name);
    let mut names = (0..=taken.len()).map(|it| match wanted.contains("%d") {
        true => wanted.replacen("%d", &it.to_string(), 1),
        false => wanted.to_owned(),
    });
    let name = names.find(is_free);
    let name = name.context("there is an interface of that name already")?;
    let bad = |letter: char| letter.is_whitespace() || "/:%\0".contains(letter);
    ensure!(
        (1..16).contains(&name.len())
            && !name.contains(bad)
            && ![".", ".."].contains(&name.as_str()),
        "{wanted:?} is no name for an interface"
    );
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_that_is_free() {
        let there = ["lo", "eth0", "eth1"].map(str::to_owned);
        let name = |wanted| free_name(wanted, &there).ok();
        assert_eq!(name("net1"), Some("net1".into()));
        assert_eq!(name("eth0"), None);
        assert_eq!(name("eth%d"), Some("eth2".into()));
        assert_eq!(name("%d"), Some("0".into()));
        for wanted in ["", ".", "a b", "a/b", "a:b", "%s", "a%d%d", "a\0"] {
            assert_eq!(name(wanted), None, "{wanted}");
        }
        assert_eq!(name("sixteen-letters-"), None);
    }
}
