//! The parameters of a request, from the query and a form body. Pure.

use std::borrow::Cow;

use silo_shared::credential::Secret;
use silo_shared::silo::Hostname;
use url::form_urlencoded;

use super::reply::Reply;
use crate::domain::dynahost::{InvalidLogin, ProviderLogin};

/// The maximum length of a value, in bytes.
const LONGEST: usize = 1024;

/// The parameters; unknown ones are ignored. Never printed: they contain secrets.
#[derive(Default)]
pub(super) struct Params<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

/// A provider and a login for it.
pub(super) struct Backend<'a> {
    /// The provider's name.
    pub(super) name: &'a str,
    /// The login.
    pub(super) login: ProviderLogin,
}

impl<'a> Params<'a> {
    /// Adds the parameters of a query or a form body.
    pub(super) fn add(&mut self, form: &'a [u8]) {
        self.0.extend(form_urlencoded::parse(form));
    }

    /// The single value of a parameter; an empty one counts as absent.
    fn get(&self, name: &str) -> Result<Option<&str>, Reply> {
        let mut values = self.0.iter().filter(|(key, _)| key == name);
        let value = match (values.next(), values.next()) {
            (None, _) => return Ok(None),
            (Some((_, value)), None) => value,
            (Some(_), Some(_)) => return Err(Reply::wrong(name, "it is given twice")),
        };
        if value.len() > LONGEST {
            return Err(Reply::wrong(name, "it has at most 1024 bytes"));
        }
        // Invalid UTF-8 was replaced, which would make different values equal.
        if value.contains(char::REPLACEMENT_CHARACTER) {
            return Err(Reply::wrong(name, "it is not UTF-8"));
        }
        Ok((!value.is_empty()).then_some(value))
    }

    fn needed(&self, name: &str) -> Result<&str, Reply> {
        self.get(name)?
            .ok_or_else(|| Reply::wrong(name, "it is missing"))
    }

    /// `secid`.
    pub(super) fn secid(&self) -> Result<Secret, Reply> {
        self.needed("secid").map(Secret::new)
    }

    /// `host`.
    pub(super) fn host(&self) -> Result<Hostname, Reply> {
        let text = self.needed("host")?;
        Hostname::parse(text).map_err(|why| Reply::wrong("host", why))
    }

    /// `email`.
    pub(super) fn email(&self) -> Result<Option<&str>, Reply> {
        self.get("email")
    }

    /// `backend`, `login` and `pass`.
    pub(super) fn backend(&self) -> Result<Option<Backend<'_>>, Reply> {
        let Some(name) = self.get("backend")? else {
            return match (self.get("login")?, self.get("pass")?) {
                (None, None) => Ok(None),
                _ => Err(Reply::wrong("backend", "login and pass require a backend")),
            };
        };
        let (login, pass) = (self.needed("login")?, self.needed("pass")?);
        let login = ProviderLogin::new(Secret::new(login), Secret::new(pass));
        let login = login.map_err(|why| match why {
            InvalidLogin::Username => Reply::wrong("login", why),
            InvalidLogin::Password => Reply::wrong("pass", why),
        })?;
        Ok(Some(Backend { name, login }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(form: &str) -> Params<'_> {
        let mut params = Params::default();
        params.add(form.as_bytes());
        params
    }

    fn why<T>(result: Result<T, Reply>) -> String {
        match result {
            Err(Reply::Refused(status, why)) if status == 400 => why,
            _ => panic!("it is not refused so"),
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (form, words) in [
            ("host=nas", "secid: it is missing"),
            ("secid=&host=nas", "secid: it is missing"),
            ("secid=a&secid=b", "secid: it is given twice"),
            ("secid=%ff", "secid: it is not UTF-8"),
        ] {
            assert_eq!(why(params(form).secid()), words, "{form}");
        }
        let long = format!("secid={}", "x".repeat(1025));
        assert_eq!(
            why(params(&long).secid()),
            "secid: it has at most 1024 bytes"
        );
        assert_eq!(why(params("secid=a").host()), "host: it is missing");
        assert!(why(params("host=a..b").host()).starts_with("host: "));
        for (form, words) in [
            ("backend=ovh&pass=b", "login: it is missing"),
            ("backend=ovh&login=a", "pass: it is missing"),
            ("login=a&pass=b", "backend: "),
            ("backend=ovh&login=a:b&pass=b", "login: "),
            ("backend=ovh&login=a&pass=b%0a", "pass: "),
        ] {
            let why = why(params(form).backend().map(|_| ()));
            assert!(why.starts_with(words), "{form}: {why}");
        }
        assert!(
            params("backend=&login=&pass=")
                .backend()
                .unwrap_or(None)
                .is_none()
        );
    }

    #[test]
    fn query_and_body_are_one() {
        let mut params = params("secid=%C3%A4+b");
        params.add(b"host=NAS.example.net.");
        assert_eq!(
            params
                .secid()
                .map(|secid| secid.expose().to_owned())
                .ok()
                .as_deref(),
            Some("\u{e4} b")
        );
        assert_eq!(
            params.host().ok().map(|host| host.to_string()).as_deref(),
            Some("nas.example.net")
        );
    }
}
