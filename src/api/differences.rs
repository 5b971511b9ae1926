//! Two trees of manifests, compared document by document and field by field.
//!
//! Input → output: two [`Listing`]s → what differs, secrets hidden. Pure.
//!
//! A side that was redacted says `(hidden)` where a secret was: what it cannot be compared with is told apart from what
//! is equal. Deliberately absent: what follows from a difference (`plan`).

use super::types::{Change, ChangeKind, DiffView, FieldChange};
use crate::model::secret::HIDDEN;
use crate::model::{ListedField, ListedObject, Listing};
use std::collections::BTreeMap;

/// What the second says differently. `from` and `to` of the view are left to the caller.
pub fn differences(old: &Listing, new: &Listing) -> DiffView {
    let mut view = DiffView::default();
    let (old_shown, new_shown) = (old.redacted(), new.redacted());
    let nothing = BTreeMap::new();
    for kind in crate::model::Kind::ALL {
        let (was, is) = (old.objects.get(&kind).unwrap_or(&nothing), new.objects.get(&kind).unwrap_or(&nothing));
        let mut names: Vec<&String> = was.keys().chain(is.keys()).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let object = format!("{kind}/{name}");
            let (was, is) = (was.get(name), is.get(name));
            let old = Side { object: was, shown: old_shown.get(kind, name) };
            let new = Side { object: is, shown: new_shown.get(kind, name) };
            let fields = fields(old, new, &object, &mut view.not_compared);
            let Some(change) = kind_of(was.is_some(), is.is_some(), !fields.is_empty()) else { continue };
            let place = |side: Option<&ListedObject>| side.map(|object| object.at.to_string());
            view.changes.push(Change { change, object, at: place(is), was_at: place(was), fields });
        }
    }
    view
}

fn kind_of(was: bool, is: bool, differs: bool) -> Option<ChangeKind> {
    match (was, is) {
        (false, true) => Some(ChangeKind::Added),
        (true, false) => Some(ChangeKind::Removed),
        (true, true) if differs => Some(ChangeKind::Changed),
        (true, true) | (false, false) => None,
    }
}

/// A document of one tree, and the same as it may be shown.
#[derive(Clone, Copy)]
struct Side<'a> {
    object: Option<&'a ListedObject>,
    shown: Option<&'a ListedObject>,
}

impl<'a> Side<'a> {
    fn field(self, path: &str) -> Option<&'a ListedField> {
        self.object?.fields.get(path)
    }
    fn shown(self, path: &str) -> Option<&'a str> {
        self.shown?.fields.get(path).map(|field| field.value.as_str())
    }
    fn paths(self) -> impl Iterator<Item = &'a String> {
        self.object.into_iter().flat_map(|object| object.fields.keys())
    }
}

fn fields(old: Side<'_>, new: Side<'_>, object: &str, not_compared: &mut Vec<String>) -> Vec<FieldChange> {
    let mut paths: Vec<&String> = old.paths().chain(new.paths()).collect();
    paths.sort_unstable();
    paths.dedup();
    let mut all = Vec::new();
    for path in paths {
        let (was, is) = (old.field(path), new.field(path));
        let differs = was.map(|field| &field.value) != is.map(|field| &field.value);
        // All that could differ is hidden.
        let unknown = was.is_some_and(|was| was.value.contains(HIDDEN) && new.shown(path) == Some(&was.value));
        if differs && unknown {
            not_compared.push(format!("{object} {path}"));
            continue;
        }
        let Some(change) = kind_of(was.is_some(), is.is_some(), differs) else { continue };
        let text = |side: Side<'_>| side.shown(path).map(str::to_owned);
        let place = |side: Option<&ListedField>| side.map(|field| field.at.to_string());
        let (path, from, to) = (path.clone(), text(old), text(new));
        all.push(FieldChange { change, path, from, to, at: place(is), was_at: place(was) });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{SourceFile, listing};

    fn read(text: &str) -> Listing {
        listing(&[SourceFile { path: "a.yaml".into(), bytes: text.as_bytes().to_vec() }])
    }

    fn resource(name: &str, params: &str) -> String {
        format!("---\nkind: Resource\nmetadata: {{ name: {name} }}\nspec:\n  params: {{ {params} }}\n")
    }

    fn told(old: &Listing, new: &Listing) -> Vec<String> {
        let view = differences(old, new);
        let fields = |change: &Change| {
            let told = |f: &FieldChange| format!("{}: {:?} {:?} -> {:?} {:?}", f.path, f.was_at, f.from, f.to, f.at);
            change.fields.iter().map(told).collect::<Vec<_>>().join("; ")
        };
        let changes = view.changes.iter().map(|c| format!("{:?} {} {}", c.change, c.object, fields(c)));
        changes.chain(view.not_compared.iter().map(|field| format!("? {field}"))).collect()
    }

    #[test]
    fn what_was_added_changed_and_removed_is_told_with_both_places() {
        let old = read(&(resource("a", "x: y") + &resource("b", "ip: one, gone: z")));
        let new = read(&(resource("b", "ip: two") + &resource("c", "x: y")));
        assert_eq!(
            told(&old, &new),
            [
                "Removed Resource/a params.x: Some(\"a.yaml:5:16\") Some(\"y\") -> None None",
                "Changed Resource/b params.gone: Some(\"a.yaml:10:28\") Some(\"z\") -> None None; \
                 params.ip: Some(\"a.yaml:10:17\") Some(\"one\") -> Some(\"two\") Some(\"a.yaml:5:17\")",
                "Added Resource/c params.x: None None -> Some(\"y\") Some(\"a.yaml:10:16\")",
            ]
        );
        assert_eq!(told(&new, &new), Vec::<String>::new());
    }

    #[test]
    fn a_secret_is_compared_but_never_shown() {
        let (old, new) = (read(&resource("a", "password: s3cret1")), read(&resource("a", "password: s3cret2")));
        let told = told(&old, &new);
        assert_eq!(told.len(), 1, "it differs");
        assert!(
            told[0].contains("Some(\"(hidden)\") -> Some(\"(hidden)\")") && !told[0].contains("s3cret"),
            "{told:?}"
        );
    }

    #[test]
    fn what_the_old_side_hides_is_not_called_equal() {
        let text = "password: s3cret, options: \"user=a,password=s3cret\", ip: one";
        let old = read(&resource("a", text)).redacted();
        assert_eq!(
            told(&old, &read(&resource("a", text))),
            ["? Resource/a params.options", "? Resource/a params.password"]
        );
        let other = told(&old, &read(&resource("a", &text.replace("user=a", "user=b"))));
        assert!(other[0].contains("password=(hidden)\") -> Some(\"user=b,password=(hidden)"), "{other:?}");
    }
}
