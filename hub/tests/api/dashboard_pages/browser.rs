//! The browser of the sessions' tests, with what tests of pages look for.

use reqwest::Method;

use crate::common::TestHub;
use crate::dashboard::{Browser as Plain, Page};

/// A browser that is signed in, and what its forms have in their hidden field.
pub(super) struct Browser {
    plain: Plain,
    csrf: String,
}

/// What it gets.
pub(super) struct Shown(Page);

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?} {}", self.0.status, self.0.headers, self.0.text)
    }
}

impl Shown {
    /// The status.
    pub(super) fn status(&self) -> u16 {
        self.0.status
    }

    /// A header; empty: there is none.
    pub(super) fn header(&self, name: &str) -> &str {
        self.0.header(name).unwrap_or("")
    }

    /// The page as it is.
    pub(super) fn html(&self) -> &str {
        &self.0.text
    }

    /// The text without tags, each run of blanks as one.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let mut is_tag = false;
        for c in self.html().chars() {
            match c {
                '<' => is_tag = true,
                '>' => {
                    is_tag = false;
                    text.push(' ');
                }
                c if !is_tag => text.push(c),
                _ => {}
            }
        }
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// What follows a mark, up to the next quote or tag.
    pub(super) fn after(&self, mark: &str) -> &str {
        let (_, rest) = self
            .html()
            .split_once(mark)
            .unwrap_or_else(|| panic!("no {mark:?} in {}", self.html()));
        rest.split(['"', '<']).next().unwrap()
    }

    /// Where the link to the next page leads, if there is one.
    pub(super) fn next(&self) -> Option<String> {
        let mark = "rel=\"next\" href=\"";
        let has_next = self.html().contains(mark);
        has_next.then(|| self.after(mark).replace("&#38;", "&"))
    }
}

impl Browser {
    /// Signs in with a credential.
    pub(super) async fn sign_in(hub: &TestHub, credential: &str) -> Self {
        Self::sign_in_with(Plain::of(hub), credential).await
    }

    /// The same with a browser at some place.
    pub(super) async fn sign_in_with(plain: Plain, credential: &str) -> Self {
        plain.sign_in(credential).await;
        let csrf = plain.form_token().await;
        Self { plain, csrf }
    }

    /// A page.
    pub(super) async fn get(&self, path: &str) -> Shown {
        checked(self.plain.get(path).await)
    }

    /// A page that must be there, as text without tags.
    pub(super) async fn read(&self, path: &str) -> String {
        let shown = self.get(path).await;
        assert_eq!(shown.status(), 200, "{path}: {shown:?}");
        shown.text()
    }

    /// Sends a form.
    pub(super) async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Shown {
        let mut all = vec![("csrf", self.csrf.as_str())];
        all.extend_from_slice(fields);
        checked(self.plain.post(path, &all).await)
    }

    /// Sends a form that must lead to another page, and returns where.
    pub(super) async fn submit(&self, path: &str, fields: &[(&str, &str)]) -> String {
        let shown = self.post(path, fields).await;
        assert_eq!(shown.status(), 303, "{path}: {shown:?}");
        shown.header("location").to_owned()
    }

    /// The same request for a form whose answer is no text.
    pub(super) async fn download(&self, hub: &TestHub, path: &str) -> reqwest::Response {
        let (name, value) = self.plain.session().unwrap();
        let url = format!("http://{}{path}", hub.address);
        let request = crate::common::client().request(Method::POST, url);
        let request = request.header("origin", format!("http://{}", hub.address));
        let request = request.header("cookie", format!("{name}={value}"));
        let kind = "application/x-www-form-urlencoded";
        let body = format!("csrf={}", self.csrf);
        let response = request.header("content-type", kind).body(body).send();
        response.await.unwrap()
    }
}

fn checked(page: Page) -> Shown {
    assert_eq!(page.header("cache-control"), Some("no-store"));
    Shown(page)
}
