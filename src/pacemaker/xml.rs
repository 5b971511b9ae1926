//! XML as a light tree.
//!
//! Input: the text of a document. Output: a [`Tree`] that borrows from it; [`El`] walks it. Only elements and attributes
//! count: a CIB has no text. Comments and processing instructions are skipped.
//!
//! Invariants: bounded in size, depth and number of elements; a document type is refused, so nothing expands. Errors name
//! the line.
//!
//! Deliberately absent: what the elements mean.

use quick_xml::Reader;
use quick_xml::events::attributes::Attributes;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::QName;

/// Forty times the CIB of a cluster of 5,000 resources.
pub const MAX_BYTES: usize = 256 * 1024 * 1024;
/// A CIB nests some twelve levels; rules may nest deeper.
const MAX_DEPTH: usize = 64;

/// Why a text is no document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct XmlError {
    /// From 1.
    pub line: usize,
    pub why: String,
}

struct Node<'a> {
    tag: &'a str,
    /// Of its attributes: the first, and the one after the last.
    attrs: (u32, u32),
    first_child: Option<u32>,
    next: Option<u32>,
    /// Offset of its end in the text.
    at: usize,
}

/// An attribute: where it is in the text. There are hundreds of thousands, so they are kept small.
struct Attr {
    key_at: u32,
    key_len: u16,
    /// The value has references in it: `value_at` counts in `Tree::unescaped` instead.
    escaped: bool,
    value_at: u32,
    value_len: u32,
}

/// A document. Element 0 is the root.
pub struct Tree<'a> {
    text: &'a str,
    nodes: Vec<Node<'a>>,
    attrs: Vec<Attr>,
    unescaped: Vec<String>,
}

/// One element of a [`Tree`].
#[derive(Clone, Copy)]
pub struct El<'a> {
    tree: &'a Tree<'a>,
    place: u32,
}

impl<'a> Tree<'a> {
    pub fn parse(text: &'a str) -> Result<Self, XmlError> {
        let fail = |at: usize, why: String| XmlError { line: line_of(text, at), why };
        if text.len() > MAX_BYTES {
            return Err(fail(0, format!("larger than {MAX_BYTES} bytes")));
        }
        let mut tree = Self {
            text,
            nodes: Vec::with_capacity(text.len() / 240),
            attrs: Vec::with_capacity(text.len() / 36),
            unescaped: Vec::new(),
        };
        let mut reader = Reader::from_str(text);
        // The open elements, each with its last child so far.
        let mut open: Vec<(u32, Option<u32>)> = Vec::new();
        loop {
            let event =
                reader.read_event().map_err(|error| fail(reader.error_position() as usize, error.to_string()))?;
            let end = reader.buffer_position() as usize;
            // The borrowed slice is found again in the text, whose lifetime the tree has.
            let cut = |start: &BytesStart<'_>, tail: usize| {
                let content = text.get(end.checked_sub(start.len() + tail)?..end.checked_sub(tail)?);
                content.map(|content| (content, start.name().0.len()))
            };
            let (content, is_open) = match event {
                Event::Start(start) => (cut(&start, 1), true),
                Event::Empty(start) => (cut(&start, 2), false),
                Event::End(_) => {
                    open.pop();
                    continue;
                }
                Event::DocType(_) => return Err(fail(end, "a document type is not allowed".into())),
                Event::Eof => break,
                Event::Text(_)
                | Event::CData(_)
                | Event::Comment(_)
                | Event::Decl(_)
                | Event::PI(_)
                | Event::GeneralRef(_) => continue,
            };
            let (content, name) = content.ok_or_else(|| fail(end, "not XML".into()))?;
            let place = tree.add(content, name, end).map_err(|why| fail(end, why))?;
            match open.last_mut() {
                Some((parent, last)) => {
                    match last {
                        Some(last) => tree.nodes[*last as usize].next = Some(place),
                        None => tree.nodes[*parent as usize].first_child = Some(place),
                    }
                    *last = Some(place);
                }
                None if place > 0 => return Err(fail(end, "more than one root element".into())),
                None => {}
            }
            if is_open {
                open.push((place, None));
            }
            if open.len() > MAX_DEPTH {
                return Err(fail(end, format!("nested deeper than {MAX_DEPTH} levels")));
            }
        }
        match (tree.nodes.is_empty(), open.is_empty()) {
            (true, _) => Err(fail(text.len(), "no element".into())),
            (false, false) => Err(fail(text.len(), "ends within an element".into())),
            (false, true) => Ok(tree),
        }
    }

    /// `content`: a start tag without its brackets, of which the first `name` bytes are its name.
    fn add(&mut self, content: &'a str, name: usize, at: usize) -> Result<u32, String> {
        let from = self.attrs.len() as u32;
        // Doubled attributes are found without comparing each with each.
        for attribute in Attributes::new(content, name).with_checks(false) {
            let attribute = attribute.map_err(|error| error.to_string())?;
            let QName(key) = attribute.key;
            let key_len = u16::try_from(key.len()).map_err(|_| "the name of an attribute is too long".to_owned())?;
            let mut attr = Attr {
                key_at: self.offset(key),
                key_len,
                escaped: attribute.value.contains(&b'&'),
                value_at: self.offset(&attribute.value),
                value_len: attribute.value.len() as u32,
            };
            if attr.escaped {
                attr.value_at = self.unescaped.len() as u32;
                self.unescaped.push(attribute.unescape_value().map_err(|error| error.to_string())?.into_owned());
            }
            self.attrs.push(attr);
        }
        let place = u32::try_from(self.nodes.len()).map_err(|_| "too many elements".to_owned())?;
        let attrs = (from, self.attrs.len() as u32);
        self.nodes.push(Node { tag: &content[..name], attrs, first_child: None, next: None, at });
        Ok(place)
    }

    /// Where a part of the text begins in it. `MAX_BYTES` is far below what 32 bits can count.
    fn offset(&self, part: &[u8]) -> u32 {
        (part.as_ptr().addr() - self.text.as_ptr().addr()) as u32
    }

    #[inline]
    fn key(&self, attr: &Attr) -> &'a str {
        &self.text[attr.key_at as usize..][..usize::from(attr.key_len)]
    }

    fn value(&'a self, attr: &Attr) -> &'a str {
        match attr.escaped {
            true => &self.unescaped[attr.value_at as usize],
            false => &self.text[attr.value_at as usize..][..attr.value_len as usize],
        }
    }

    pub fn root(&'a self) -> El<'a> {
        El { tree: self, place: 0 }
    }
}

impl<'a> El<'a> {
    fn node(self) -> &'a Node<'a> {
        &self.tree.nodes[self.place as usize]
    }

    pub fn tag(self) -> &'a str {
        self.node().tag
    }

    #[inline]
    pub fn attr(self, name: &str) -> Option<&'a str> {
        let tree = self.tree;
        self.own_attrs().iter().find(|attr| tree.key(attr) == name).map(|attr| tree.value(attr))
    }

    pub fn attrs(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let tree = self.tree;
        self.own_attrs().iter().map(move |attr| (tree.key(attr), tree.value(attr)))
    }

    fn own_attrs(self) -> &'a [Attr] {
        let (from, to) = self.node().attrs;
        &self.tree.attrs[from as usize..to as usize]
    }

    /// Its `id`, or nothing.
    pub fn id(self) -> &'a str {
        self.attr("id").unwrap_or("")
    }

    pub fn children(self) -> impl Iterator<Item = El<'a>> {
        let at = |place: u32| El { tree: self.tree, place };
        std::iter::successors(self.node().first_child.map(at), move |child| child.node().next.map(at))
    }

    pub fn all(self, tag: &'static str) -> impl Iterator<Item = El<'a>> {
        self.children().filter(move |child| child.tag() == tag)
    }

    pub fn child(self, tag: &'static str) -> Option<El<'a>> {
        self.all(tag).next()
    }

    /// Where its start tag ends in the text.
    pub fn offset(self) -> usize {
        self.node().at.min(self.tree.text.len())
    }

    /// Which one it is, as an identity.
    pub fn place(self) -> u32 {
        self.place
    }
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes()[..at.min(text.len())].iter().filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_and_attributes_are_read_and_the_rest_is_skipped() {
        let text = "<?xml version=\"1.0\"?>\n<a x=\"1 &lt; 2\"><!-- no --><b/>\n <c y='z'/></a>";
        let tree = Tree::parse(text).unwrap();
        let root = tree.root();
        assert_eq!((root.tag(), root.attr("x")), ("a", Some("1 < 2")));
        assert_eq!(root.children().map(El::tag).collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(root.child("c").map(|c| (c.attr("y"), line_of(text, c.offset()))), Some((Some("z"), 3)));
    }

    #[test]
    fn what_is_no_document_is_refused_with_its_line() {
        let line = |text: &str| Tree::parse(text).err().map(|error| error.line);
        assert_eq!(line("<a>\n<b>\n</a>"), Some(3));
        assert_eq!(line("<a>\n"), Some(2));
        assert_eq!(line(""), Some(1));
        assert_eq!(line("<a/>\n<b/>"), Some(2));
        assert!(Tree::parse("<!DOCTYPE a [<!ENTITY b \"c\">]><a/>").is_err());
        assert!(Tree::parse(&"<a>".repeat(100)).is_err());
    }
}
