//! Links with parameters.

use std::fmt;

/// A path with a query, which is encoded; it still has to be escaped for HTML, as templates do with every value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Href {
    text: String,
    has_query: bool,
}

/// A link to a path.
pub(super) fn href(path: &str) -> Href {
    Href {
        text: path.to_owned(),
        has_query: false,
    }
}

impl Href {
    /// The same with a parameter, unless that is empty.
    #[must_use]
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        if value.is_empty() {
            return self;
        }
        self.text.push(if self.has_query { '&' } else { '?' });
        self.has_query = true;
        let value: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
        self.text.push_str(name);
        self.text.push('=');
        self.text.push_str(&value);
        self
    }
}

impl fmt::Display for Href {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_encoded_and_empty_ones_left_out() {
        let full = href("/a").with("x", "b c&\"").with("y", "").with("z", "1");
        assert_eq!(full.to_string(), "/a?x=b+c%26%22&z=1");
        assert_eq!(href("/a").with("y", "").to_string(), "/a");
    }
}
