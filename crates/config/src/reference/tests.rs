use super::*;

#[test]
fn the_page_in_docs_is_what_the_declarations_say() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, reference()).unwrap();
    }
    let page = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        page == reference(),
        "docs/configuration.md is out of date: UPDATE_DOCS=1 cargo test -p pgweir-config"
    );
}

#[test]
fn every_setting_has_its_place_in_the_reference() {
    let page = reference();
    for setting in Global::SETTINGS {
        assert!(
            page.contains(&format!("\n#### {}\n", setting.name)),
            "{}",
            setting.name
        );
    }
}
