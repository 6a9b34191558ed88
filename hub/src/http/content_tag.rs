//! Entity tags of lists over several silos, made of what identifies each entry.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{Context, SHA256};

/// How many bytes of the hash are kept.
const KEPT: usize = 15;

/// A tag that is being made.
pub(super) struct ContentTag(Context);

impl ContentTag {
    /// The tag of an empty list, so far.
    pub(super) fn begin() -> Self {
        Self(Context::new(&SHA256))
    }

    /// Adds an entry, named by texts without line breaks.
    pub(super) fn add(&mut self, entry: &[&str]) {
        for text in entry {
            self.0.update(text.as_bytes());
            self.0.update(b"\n");
        }
        self.0.update(b"\n");
    }

    /// The tag, without quotes.
    pub(super) fn end(self) -> String {
        URL_SAFE_NO_PAD.encode(&self.0.finish().as_ref()[..KEPT])
    }
}
