//! Which folders a cluster is made of.
//!
//! Input → output: the files and the Overlay documents among them → [`Layer`]s, bases before what builds on them; findings
//! about bases that lead nowhere, in a circle, too deep, or twice.
//!
//! Invariants: a file is in one layer, that of the innermost base that it is below; what no base holds is the cluster's
//! own. The order of the layers, and of the files within, does not depend on where the paths begin.
//!
//! Deliberately absent: reading folders. [`with_bases`] asks its caller for what a base holds.

use super::Overlay;
use crate::manifest::Purpose;
use crate::manifest::SourceFile;
use crate::manifest::explain::Code;
use crate::manifest::report::Report;
use crate::manifest::tree::{self, Node, Span, Value, YamlDocument};
use std::collections::{BTreeMap, BTreeSet};

/// Bases of bases; two or three are of use.
const MAX_DEPTH: usize = 8;
/// Of one cluster.
const MAX_BASES: usize = 32;

/// One folder with its overlay, if it has one.
#[derive(Default)]
pub(super) struct Layer {
    pub overlay: Option<usize>,
    pub documents: Vec<(usize, YamlDocument)>,
    /// Which layers it builds on: they come before it.
    pub bases: Vec<usize>,
}

/// Adds the files of all bases that these files name, and of theirs. `read` is asked for a folder by its path, relative to
/// what the paths of the files are relative to, with `..` at its beginning if it is above that; a folder that is not there has
/// no files.
pub fn with_bases<E>(
    mut files: Vec<SourceFile>,
    mut read: impl FnMut(&str) -> Result<Vec<SourceFile>, E>,
) -> Result<Vec<SourceFile>, E> {
    let mut asked = BTreeSet::new();
    let mut looked_at = 0;
    while looked_at < files.len() {
        let named: Vec<String> = files[looked_at..].iter().flat_map(bases_in).collect();
        looked_at = files.len();
        let mut known: BTreeSet<String> = files.iter().map(|file| file.path.clone()).collect();
        for folder in named {
            if asked.len() < MAX_BASES && asked.insert(folder.clone()) {
                files.extend(read(&folder)?.into_iter().filter(|file| known.insert(file.path.clone())));
            }
        }
    }
    Ok(files)
}

/// The folders of the clusters in a tree that holds several: those of overlays that no other builds on. Empty where the
/// files are of one cluster, and where that cannot be told: a folder within another, or files that none of them uses.
pub fn clusters(files: &[SourceFile]) -> Vec<String> {
    let bases: BTreeSet<String> = files.iter().flat_map(bases_in).collect();
    let is_base = |path: &str| bases.iter().any(|base| holds(base, path));
    let has_overlay = |file: &&SourceFile| {
        let parse = || tree::parse(0, &file.bytes, &mut Report::new(Purpose::Plan, &[*file]));
        mentions_overlays(file) && parse().iter().any(|document| is_overlay(&document.root))
    };
    let tops = files.iter().filter(|file| !is_base(&file.path)).filter(has_overlay);
    let tops: BTreeSet<&str> = tops.map(|file| folder_of(&file.path)).collect();
    let within = |folder: &str, path: &str| folder.is_empty() || holds(folder, path);
    let nested = tops.iter().any(|a| tops.iter().any(|b| a != b && within(a, &format!("{b}/"))));
    let used = |file: &SourceFile| is_base(&file.path) || tops.iter().any(|top| within(top, &file.path));
    match tops.len() > 1 && !nested && files.iter().all(used) {
        true => tops.into_iter().map(str::to_owned).collect(),
        false => Vec::new(),
    }
}

/// Few files hold an overlay, and most are read once more anyway.
fn mentions_overlays(file: &SourceFile) -> bool {
    file.bytes.windows(7).any(|word| word == b"Overlay")
}

/// The folders that the overlays of a file name.
fn bases_in(file: &SourceFile) -> Vec<String> {
    if !mentions_overlays(file) {
        return Vec::new();
    }
    let documents = tree::parse(0, &file.bytes, &mut Report::new(Purpose::Plan, &[file]));
    let overlays = documents.iter().map(|document| &document.root).filter(|root| is_overlay(root));
    overlays.flat_map(bases).filter_map(|(text, _)| below(folder_of(&file.path), text)).collect()
}

pub(super) fn is_overlay(root: &Node) -> bool {
    root.get("kind").and_then(Node::as_str) == Some("Overlay")
}

/// The bases as they are written.
fn bases(root: &Node) -> Vec<(&str, Span)> {
    let list = match root.at(&["spec", "bases"]).map(|node| &node.value) {
        Some(Value::List(items)) => items.as_slice(),
        Some(Value::Map(_) | Value::Scalar(_)) | None => &[],
    };
    list.iter().filter_map(|item| Some((item.as_str()?, item.span))).collect()
}

/// The folder that a file is in, without a slash at its end; empty: where the paths begin.
fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// A folder relative to another, without detours. None: it is no relative path.
fn below(folder: &str, base: &str) -> Option<String> {
    if base.is_empty() || base.starts_with('/') || base.contains(['\\', '\0']) {
        return None;
    }
    let absolute = folder.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(base.split('/')) {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if absolute => return None,
            name => parts.push(name),
        }
    }
    Some(if absolute { format!("/{}", parts.join("/")) } else { parts.join("/") })
}

/// Whether a file is below a folder. What begins with `..` is above where the paths begin, and everything else below that.
fn holds(folder: &str, path: &str) -> bool {
    if folder.split('/').all(|part| part.is_empty() || part == "..") && !folder.starts_with('/') {
        let up = |path: &str| path.split('/').take_while(|part| *part == "..").count();
        return up(path) <= up(folder);
    }
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// Sorts documents into layers. None: a finding says why it cannot be done.
pub(super) fn layers(
    files: &[&SourceFile],
    overlays: &[Overlay],
    documents: Vec<(usize, YamlDocument)>,
    report: &mut Report,
) -> Option<Vec<Layer>> {
    let path = |file: usize| files[file].path.as_str();
    // What each overlay names, where, and which folder that is.
    let mut named: Vec<Vec<(Option<String>, Span)>> = Vec::new();
    for overlay in overlays {
        let folder = folder_of(path(overlay.file));
        named.push(bases(&overlay.root).into_iter().map(|(text, span)| (below(folder, text), span)).collect());
    }
    let folders: BTreeSet<String> = named.iter().flatten().filter_map(|(folder, _)| folder.clone()).collect();
    let holder =
        |file: usize| folders.iter().filter(|folder| holds(folder, path(file))).max_by_key(|folder| depth(folder));
    let mut of_folder: BTreeMap<Option<&String>, usize> = BTreeMap::new();
    for (place, overlay) in overlays.iter().enumerate() {
        if let Some(first) = of_folder.insert(holder(overlay.file), place) {
            let at = report.place(overlays[first].file, overlays[first].name());
            let message = format!("a second Overlay beside the one at {at}");
            let help = "a folder has one Overlay; if these are two clusters, give each a folder of its own and name one: \
                        `hafen plan FOLDER`, for a push `path` in the Cluster's `source`, for the first one also \
                        `git push -o path=FOLDER` (`hafen validate` looks at all of them)";
            report.add(Code::SeveralOverlays, overlay.file, overlay.name(), message, Some(help.to_owned()));
            return None;
        }
    }
    let mut walk = Walk { files, overlays, named: &named, of_folder: &of_folder, order: Vec::new(), chain: Vec::new() };
    let Some(top) = of_folder.get(&None) else {
        // Everything is somebody's base: follow them from any.
        let first = *of_folder.values().next()?;
        walk.enter(Some(first), holder(overlays[first].file), None, report);
        return None;
    };
    walk.enter(Some(*top), None, None, report)?;
    let order = walk.order;
    let layer = |(_, overlay, bases): &(_, Option<usize>, Vec<usize>)| Layer {
        overlay: *overlay,
        documents: Vec::new(),
        bases: bases.clone(),
    };
    let mut layers: Vec<Layer> = order.iter().map(layer).collect();
    for (file, document) in documents {
        let holder = holder(file);
        // A folder that no overlay in use names is not among them; there is none, as all overlays are somebody's.
        if let Some(place) = order.iter().position(|(folder, _, _)| *folder == holder) {
            layers[place].documents.push((file, document));
        }
    }
    Some(layers)
}

fn depth(folder: &str) -> usize {
    // Above where the paths begin is further out than anything below.
    let up = folder.split('/').filter(|part| *part == "..").count();
    1000 + folder.split('/').filter(|part| !part.is_empty() && *part != "..").count() - up.min(500)
}

struct Walk<'a> {
    files: &'a [&'a SourceFile],
    overlays: &'a [Overlay],
    named: &'a [Vec<(Option<String>, Span)>],
    of_folder: &'a BTreeMap<Option<&'a String>, usize>,
    /// Folder, overlay and bases of each layer so far.
    order: Vec<(Option<&'a String>, Option<usize>, Vec<usize>)>,
    /// The overlays on the way here.
    chain: Vec<usize>,
}

impl<'a> Walk<'a> {
    /// Adds a layer behind its bases and returns its place.
    fn enter(
        &mut self,
        overlay: Option<usize>,
        folder: Option<&'a String>,
        from: Option<(usize, Span)>,
        report: &mut Report,
    ) -> Option<usize> {
        let mut bad = |message: String, help: &str| {
            let (file, span) = from.unwrap_or_default();
            report.add(Code::BadBase, file, span, message, Some(help.to_owned()));
        };
        if let Some(overlay) = overlay
            && let Some(start) = self.chain.iter().position(|other| *other == overlay)
        {
            let shown = |overlay: &usize| match folder_of(&self.files[self.overlays[*overlay].file].path) {
                "" => ".".to_owned(),
                folder => folder.to_owned(),
            };
            let chain: Vec<String> = self.chain[start..].iter().chain([&overlay]).map(shown).collect();
            bad(format!("bases that lead back to where they began: {}", chain.join(" → ")), "take one of them out");
            return None;
        }
        if self.chain.len() > MAX_DEPTH {
            bad(format!("more than {MAX_DEPTH} bases, each the base of the one before"), "put some of them together");
            return None;
        }
        if self.order.len() > MAX_BASES {
            bad(format!("more than {MAX_BASES} bases"), "put some of them together");
            return None;
        }
        let mut bases = Vec::new();
        let mut whole = true;
        self.chain.extend(overlay);
        for (base, span) in overlay.map_or(&[][..], |overlay| self.named[overlay].as_slice()) {
            let file = overlay.map_or(0, |overlay| self.overlays[overlay].file);
            match self.base(base.as_ref(), (file, *span), report) {
                Some(place) => bases.push(place),
                None => whole = false,
            }
        }
        if overlay.is_some() {
            self.chain.pop();
        }
        if !whole {
            return None;
        }
        self.order.push((folder, overlay, bases));
        Some(self.order.len() - 1)
    }

    fn base(&mut self, base: Option<&'a String>, from: (usize, Span), report: &mut Report) -> Option<usize> {
        let mut bad = |message: String, help: &str| {
            report.add(Code::BadBase, from.0, from.1, message, Some(help.to_owned()));
            None
        };
        let form =
            "a base is a folder of the same repository, written relative to the folder of this file: `../../base`";
        let Some(folder) = base else {
            return bad("this is not the path of a base".to_owned(), form);
        };
        let overlay = self.of_folder.get(&base).copied();
        let leads_back = overlay.is_some_and(|overlay| self.chain.contains(&overlay));
        if !leads_back && self.order.iter().any(|(other, _, _)| *other == base) {
            let help = "take one of them out: its documents would be there twice";
            return bad(format!("`{folder}` is a base already, of this overlay or of another base"), help);
        }
        if !self.files.iter().any(|file| holds(folder, &file.path)) {
            let shown = if folder.is_empty() { "." } else { folder };
            return bad(format!("there are no manifests below `{shown}`"), form);
        }
        self.enter(overlay, base, Some(from), report)
    }
}

/// The files of all layers but the last, which others may build on, too.
pub(super) fn shared(layers: &[Layer], overlays: &[Overlay]) -> BTreeSet<usize> {
    let bases = layers.split_last().map_or(&[][..], |(_, bases)| bases);
    let overlay_files = bases.iter().filter_map(|layer| layer.overlay).map(|overlay| overlays[overlay].file);
    bases.iter().flat_map(|layer| layer.documents.iter().map(|(file, _)| *file)).chain(overlay_files).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bases_are_found_from_the_folder_of_their_overlay() {
        let cases = [
            ("clusters/prod", "../../base", Some("base")),
            ("", "../../base", Some("../../base")),
            ("..", "../x", Some("../../x")),
            ("a", "..", Some("")),
            ("a/b", "./c/../d//", Some("a/b/d")),
            ("/srv/a", "../b", Some("/srv/b")),
            ("/a", "../../b", None),
            ("a", "/b", None),
            ("a", "", None),
        ];
        for (folder, base, expected) in cases {
            assert_eq!(below(folder, base).as_deref(), expected, "{base} from {folder}");
        }
        assert!(holds("base", "base/a.yaml") && !holds("base", "based/a.yaml") && !holds("base", "base.yaml"));
        assert!(holds("", "a.yaml") && !holds("", "../a.yaml") && holds("..", "../a.yaml") && holds("..", "b/a.yaml"));
    }

    #[test]
    fn clusters_are_told_where_every_file_belongs_to_one() {
        let file = |path: &str, text: &str| SourceFile { path: path.into(), bytes: text.as_bytes().to_vec() };
        let overlay = |path: &str| file(path, "kind: Overlay\nspec: { bases: [../../base] }\n");
        let two = [overlay("clusters/prod/o.yaml"), overlay("clusters/test/o.yaml"), file("base/a.yaml", "")];
        assert_eq!(clusters(&two), ["clusters/prod", "clusters/test"]);
        let mut more = two.to_vec();
        more.push(file("clusters/test/more/b.yaml", "kind: Overlays are no Overlay"));
        assert_eq!(clusters(&more).len(), 2);
        more.push(file("elsewhere/b.yaml", ""));
        assert!(clusters(&more).is_empty(), "a file of nobody");
        assert!(clusters(&two[1..]).is_empty(), "one alone");
        assert!(clusters(&[overlay("a/b/o.yaml"), overlay("a/b/c/o.yaml")]).is_empty(), "one within the other");
        assert!(clusters(&[overlay("o.yaml"), overlay("a/b/o.yaml")]).is_empty(), "one within the other");
    }

    #[test]
    fn bases_of_bases_are_asked_for_once_and_what_is_there_is_not_added_again() {
        let overlay = |path: &str, bases: &str| SourceFile {
            path: path.into(),
            bytes: format!("kind: Overlay\nspec: {{ bases: {bases} }}\n").into_bytes(),
        };
        let mut asked = Vec::new();
        let files = with_bases(vec![overlay("c/prod/o.yaml", "[../../a, ../../gone]")], |folder| {
            asked.push(folder.to_owned());
            Ok::<_, ()>(match folder {
                "a" => vec![overlay("a/o.yaml", "[../b, ../a]")],
                "b" => vec![SourceFile { path: "b/x.yaml".into(), bytes: Vec::new() }],
                _ => Vec::new(),
            })
        });
        let paths: Vec<String> = files.unwrap().into_iter().map(|file| file.path).collect();
        assert_eq!((asked.join(" "), paths.join(" ")), ("a gone b".into(), "c/prod/o.yaml a/o.yaml b/x.yaml".into()));
    }
}
