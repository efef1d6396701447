//! The known name that was most likely meant by an unknown one.

/// The one of `names` that is nearest to `name`, if any is near enough to be a slip of the hand:
/// at most a third of its letters wrong.
pub(crate) fn nearest<'n>(name: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    // The distance costs the product of the lengths, and no setting's name is longer than this.
    const LONGEST: usize = 64;
    if name.len() > LONGEST {
        return None;
    }
    let name = name.to_ascii_lowercase().replace('-', "_");
    names
        .into_iter()
        .map(|known| (strsim::osa_distance(&name, known), known))
        .filter(|(distance, known)| distance * 3 <= known.len().max(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_name_and_nonsense_finds_none() {
        let names = ["default_pool_size", "min_pool_size", "listen_port", "user"];
        let cases = [
            ("defualt_pool_size", Some("default_pool_size")),
            ("DEFAULT-POOL-SIZE", Some("default_pool_size")),
            ("listenport", Some("listen_port")),
            ("usr", Some("user")),
            ("frobnicate", None),
            ("", None),
        ];
        for (name, expected) in cases {
            assert_eq!(nearest(name, names), expected, "{name}");
        }
        assert_eq!(nearest(&"x".repeat(1_000_000), names), None);
    }
}
