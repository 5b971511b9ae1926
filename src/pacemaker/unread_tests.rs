//! What is not named as left out counts: taking it away makes another cluster.

use super::vocabulary::{ANYWHERE, Known, meta, operation, option, shape};
use super::xml::{El, Tree};
use super::{Import, import};

const CIB: &str = include_str!("../cli/import_tests.xml");

/// What is taken away.
#[derive(Clone, Copy, PartialEq)]
enum Without<'w> {
    Nothing,
    Element(u32),
    Attribute(u32, &'w str),
}

fn write(el: El<'_>, without: Without<'_>, text: &mut String) {
    if without == Without::Element(el.place()) {
        return;
    }
    text.push_str(&format!("<{}", el.tag()));
    for (name, value) in el.attrs().filter(|(name, _)| without != Without::Attribute(el.place(), name)) {
        text.push_str(&format!(" {name}=\"{value}\""));
    }
    text.push('>');
    el.children().for_each(|child| write(child, without, text));
    text.push_str(&format!("</{}>", el.tag()));
}

fn read(root: El<'_>, without: Without<'_>) -> Option<Import> {
    let mut text = String::new();
    write(root, without, &mut text);
    import(&text, Some(1_700_000_000)).ok()
}

fn all<'a>(el: El<'a>, list: &mut Vec<El<'a>>) {
    list.push(el);
    el.children().for_each(|child| all(child, list));
}

fn is_harmless_setting(el: El<'_>) -> bool {
    let name = el.attr("name").unwrap_or("");
    el.tag() == "nvpair" && [option(name), meta(name), operation(name)].contains(&Some(Known::Harmless))
}

#[test]
fn what_is_not_named_as_left_out_makes_a_difference() {
    let tree = Tree::parse(CIB).unwrap();
    let whole = read(tree.root(), Without::Nothing).unwrap();
    let named = |el: El<'_>| {
        let at = format!("{} {}", el.tag(), el.id());
        whole.losses.iter().any(|loss| loss.at == at || loss.at == el.tag())
    };
    let same = |without: Without<'_>| {
        read(tree.root(), without).is_some_and(|other| {
            (&other.spec, &other.state, &other.losses) == (&whole.spec, &whole.state, &whole.losses)
        })
    };
    let mut unread = Vec::new();
    let mut elements = Vec::new();
    all(tree.root(), &mut elements);
    for el in elements.into_iter().filter(|el| !named(*el) && !is_harmless_setting(*el)) {
        if same(Without::Element(el.place())) {
            unread.push(format!("{} {}", el.tag(), el.id()));
        }
        for (name, _) in el.attrs().filter(|(name, _)| !ANYWHERE.contains(name)) {
            let harmless = shape(el.tag()).is_some_and(|shape| shape.harmless.contains(&name));
            if !harmless && el.tag() != "lrm_rsc_op" && same(Without::Attribute(el.place(), name)) {
                unread.push(format!("{} {}: {name}", el.tag(), el.id()));
            }
        }
    }
    // A node is found by its id first; of what is configured the configuration says which agent it is.
    unread.retain(|what| !(what.starts_with("node_state") && what.ends_with(": uname")));
    unread.retain(|what| !what.starts_with("lrm_resource") || what.contains("gone"));
    // The first level is the first also without its number.
    assert_eq!(unread, ["fencing-level f2: index"]);
}

#[test]
fn what_nobody_reads_is_named_and_what_changes_a_plan_makes_the_import_lossy() {
    let text = CIB
        .replace("<crm_config>", r#"<acls><acl_role id="reader"/></acls><alerts><alert id="mail-me" path="/bin/true"/></alerts><crm_config>"#)
        .replace(r#"name="no-quorum-policy""#, r#"name="no-qourum-policy""#)
        .replace(r#"name="priority" value="10""#, r#"name="priority" value="many""#)
        .replace(r#"<op id="dm""#, r#"<op id="dm" requires="nothing" colour="red""#)
        .replace(r#"id="near" score="200""#, r#"id="near" score-attribute="ping""#);
    let found = import(&text, None).unwrap();
    let told: Vec<(String, bool)> =
        found.losses.iter().map(|loss| (format!("{}: {}", loss.at, loss.what), loss.changes_plan)).collect();
    let expected = [
        ("acl_role reader: it has no counterpart; no plan asks for it", false),
        ("alert mail-me: it has no counterpart; no plan asks for it", false),
        ("nvpair o3: nobody reads `no-qourum-policy`", false),
        ("op dm: `requires` has no counterpart", true),
        ("op dm: nobody reads `colour`", false),
        ("nvpair nm1: `many` cannot be read, so what is usual for `priority` counts", true),
        ("rsc_colocation near: `score-attribute` has no counterpart", true),
    ];
    for (what, lossy) in expected {
        assert!(told.contains(&(what.to_owned(), lossy)), "{what}\n{told:#?}");
    }
    assert!(found.is_lossy() && !import(CIB, None).unwrap().is_lossy());
}
