//! `Signature-Input` and `Signature` (RFC 9421 section 4): structured fields, dictionaries with one member.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue};
use sfv::{BareItem, Dictionary, FieldType, InnerList, Item, ListEntry, Parser};

use super::component::{Component, only};
use super::{LABEL, SIGNATURE, SIGNATURE_INPUT, SignatureError};

const INPUT: &str = "Signature-Input";
/// The maximum number of components in a signature. Each is compared with those before it, even before the sender is
/// authenticated: a field of 64 KiB has room for thousands.
const MAX_COMPONENTS: usize = 64;

/// The parameters of a signature (RFC 9421 section 2.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    /// When it was made, in Unix seconds.
    pub created: Option<i64>,
    /// When it ends, in Unix seconds.
    pub expires: Option<i64>,
    /// A text that is unique among the signatures of the key.
    pub nonce: Option<String>,
    /// The id of the key.
    pub keyid: Option<String>,
    /// The algorithm.
    pub alg: Option<String>,
}

/// The components and parameters of a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureInput {
    components: Vec<Component>,
    parameters: Parameters,
    /// As in the field and in the signature base.
    text: String,
}

impl SignatureInput {
    /// Creates an input. Texts in the parameters must be printable ASCII without `"` and `\`.
    pub fn new(components: Vec<Component>, parameters: Parameters) -> Self {
        let items: Vec<String> = components.iter().map(Component::to_string).collect();
        let mut text = format!("({})", items.join(" "));
        let mut add = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                write!(text, ";{name}={value}").expect("writing to a String never fails");
            }
        };
        let quoted = |text: &Option<String>| text.as_ref().map(|text| format!("\"{text}\""));
        add("created", parameters.created.map(|time| time.to_string()));
        add("expires", parameters.expires.map(|time| time.to_string()));
        add("nonce", quoted(&parameters.nonce));
        add("keyid", quoted(&parameters.keyid));
        add("alg", quoted(&parameters.alg));
        Self {
            components,
            parameters,
            text,
        }
    }

    fn parse(list: &InnerList, text: String) -> Result<Self, SignatureError> {
        if list.items.len() > MAX_COMPONENTS {
            let why = "covers more than 64 components";
            return Err(SignatureError::malformed(INPUT, why));
        }
        let mut components: Vec<Component> = Vec::with_capacity(list.items.len());
        for item in &list.items {
            let component = component(item)?;
            if components.contains(&component) {
                return Err(SignatureError::Repeated(component.to_string()));
            }
            components.push(component);
        }
        let mut parameters = Parameters::default();
        for (name, value) in &list.params {
            let wrong = SignatureError::malformed(INPUT, "a parameter is of the wrong type");
            let time = |value: &BareItem| value.as_integer().map(i64::from);
            let string = |value: &BareItem| Some(value.as_string()?.as_str().to_owned());
            match name.as_str() {
                "created" => parameters.created = Some(time(value).ok_or(wrong)?),
                "expires" => parameters.expires = Some(time(value).ok_or(wrong)?),
                "nonce" => parameters.nonce = Some(string(value).ok_or(wrong)?),
                "keyid" => parameters.keyid = Some(string(value).ok_or(wrong)?),
                "alg" => parameters.alg = Some(string(value).ok_or(wrong)?),
                // Signed like every parameter, but not used here.
                _ => {}
            }
        }
        Ok(Self {
            components,
            parameters,
            text,
        })
    }

    /// The components, in order.
    pub fn components(&self) -> &[Component] {
        &self.components
    }

    /// The parameters.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The member's value, which is also the last line of the signature base.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Requires that a component is signed.
    pub fn require(&self, component: &Component) -> Result<(), SignatureError> {
        if self.components.contains(component) {
            Ok(())
        } else {
            Err(SignatureError::Uncovered(component.to_string()))
        }
    }
}

fn component(item: &Item) -> Result<Component, SignatureError> {
    let unknown = || {
        let text = item.bare_item.as_string().map_or("", |name| name.as_str());
        SignatureError::UnknownComponent(format!("\"{text}\""))
    };
    let name = item.bare_item.as_string().ok_or_else(unknown)?.as_str();
    let is_name = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"@!#$%&'*+-.^_`|~".contains(&byte)
    };
    if name.is_empty() || !name.bytes().all(is_name) {
        return Err(unknown());
    }
    let mut of_request = false;
    for (parameter, value) in &item.params {
        match (parameter.as_str(), value.as_boolean()) {
            ("req", Some(true)) => of_request = true,
            _ => return Err(unknown()),
        }
    }
    let name = name.to_owned();
    Ok(if of_request {
        Component::of_request(name)
    } else {
        Component::new(name)
    })
}

/// Reads both fields: the input and the signature. `None`: the message has neither.
pub fn read(headers: &HeaderMap) -> Result<Option<(SignatureInput, Vec<u8>)>, SignatureError> {
    let (input, signature) = (only(headers, &SIGNATURE_INPUT)?, only(headers, &SIGNATURE)?);
    let (input, signature) = match (input, signature) {
        (None, None) => return Ok(None),
        (Some(_), None) => return Err(SignatureError::malformed("Signature", "is missing")),
        (None, Some(_)) => return Err(SignatureError::malformed(INPUT, "is missing")),
        (Some(input), Some(signature)) => (input, signature),
    };
    let ListEntry::InnerList(list) = only_member(INPUT, input)? else {
        return Err(SignatureError::malformed(INPUT, "must be an inner list"));
    };
    let text = input[LABEL.len() + 1..].to_owned();
    let input = SignatureInput::parse(&list, text)?;
    match only_member("Signature", signature)? {
        ListEntry::Item(Item {
            bare_item: BareItem::ByteSequence(bytes),
            params,
        }) if params.is_empty() => Ok(Some((input, bytes))),
        _ => Err(SignatureError::malformed(
            "Signature",
            "must be a byte sequence",
        )),
    }
}

/// The only member of a dictionary, which must be written like a serializer does.
fn only_member(field: &'static str, text: &str) -> Result<ListEntry, SignatureError> {
    let dictionary: Dictionary = Parser::new(text)
        .parse()
        .map_err(|_| SignatureError::malformed(field, "is not a dictionary (RFC 9651)"))?;
    if dictionary.len() > 1 {
        let why = "must contain exactly one signature";
        return Err(SignatureError::malformed(field, why));
    }
    // Also detects a duplicate member, of which a parser keeps the last.
    if dictionary.serialize().as_deref() != Some(text) {
        let why = "is not written in the form of RFC 9651 section 4.1";
        return Err(SignatureError::malformed(field, why));
    }
    match dictionary.into_iter().next() {
        Some((label, member)) if label.as_str() == LABEL => Ok(member),
        _ => Err(SignatureError::malformed(
            field,
            "the signature must be labelled silo",
        )),
    }
}

/// Adds both fields to a message.
pub(super) fn write(headers: &mut HeaderMap, input: &SignatureInput, signature: &[u8]) {
    let field = |text: String| HeaderValue::try_from(text).expect("it is of printable ASCII");
    headers.insert(
        SIGNATURE_INPUT,
        field(format!("{LABEL}={}", input.as_str())),
    );
    let encoded = STANDARD.encode(signature);
    headers.insert(SIGNATURE, field(format!("{LABEL}=:{encoded}:")));
}
