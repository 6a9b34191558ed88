//! The signature base (RFC 9421 section 2.5): the text to sign.

use std::fmt::Write;

use super::SignatureError;
use super::component::Message;
use super::input::SignatureInput;

/// The base of a message's signature: a line per component, then the parameters.
pub fn signature_base(
    message: Message<'_>,
    input: &SignatureInput,
) -> Result<String, SignatureError> {
    let mut base = String::new();
    for component in input.components() {
        let value = component.value(message)?;
        // A field's value has no line break, so it can't inject another line.
        writeln!(base, "{component}: {value}").expect("writing to a String never fails");
    }
    write!(base, "\"@signature-params\": {}", input.as_str())
        .expect("writing to a String never fails");
    Ok(base)
}
