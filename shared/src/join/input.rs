//! Where the line of an invitation comes from: standard input, a file, a question, or the command line.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::PathBuf;

use clap::Args;
use clap::builder::{StringValueParser, TypedValueParser};

use super::JoinError;
use crate::credential::Secret;
use crate::held;
use crate::install::InstallFlags;
use crate::invitation::{Invitation, MAX_INVITATION};
use crate::output::Output;
use crate::text::{decode, utf16_to_utf8};

/// The flags of `join`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct JoinFlags {
    /// The invitation; `-` reads it from standard input, since other users can read arguments [default: asks for it]
    #[arg(value_name = "INVITATION", value_parser = StringValueParser::new().map(Secret::new))]
    pub invitation: Option<Secret>,

    /// Read the invitation from this file
    #[arg(long, value_name = "FILE", conflicts_with = "invitation")]
    pub invitation_file: Option<PathBuf>,

    /// Make no schedule
    #[arg(long, conflicts_with_all = ["every", "watch"])]
    pub no_schedule: bool,

    /// When and how the agent is run from then on.
    #[command(flatten)]
    pub schedule: InstallFlags,
}

/// The most bytes to read: a line in UTF-16 with room to spare.
const MAX_BYTES: u64 = 4 * MAX_INVITATION as u64;

/// Reads the invitation that the flags name. `None`: none was given, and nothing was asked since `may_ask` is not set.
pub(super) fn read(
    flags: &JoinFlags,
    may_ask: bool,
    output: &Output,
) -> Result<Option<Invitation>, JoinError> {
    let unreadable = |cause| JoinError::Input {
        place: "standard input".to_owned(),
        cause,
    };
    let text = match (&flags.invitation, &flags.invitation_file) {
        (Some(given), _) if given.expose() == "-" => {
            let mut bytes = Vec::new();
            let mut stdin = io::stdin().lock().take(MAX_BYTES);
            stdin.read_to_end(&mut bytes).map_err(unreadable)?;
            text(&bytes)?
        }
        (Some(given), _) => {
            output.print_note(
                "other users of this machine can read arguments: pipe an invitation to `join -` instead",
            );
            given.expose().to_owned()
        }
        (None, Some(file)) => {
            let bytes = held::read_up_to(file, MAX_BYTES).map_err(|cause| JoinError::Input {
                place: file.display().to_string(),
                cause,
            })?;
            text(&bytes)?
        }
        (None, None) if !may_ask => return Ok(None),
        (None, None) => {
            if io::stdin().is_terminal() {
                let mut stderr = io::stderr().lock();
                let asked = stderr
                    .write_all(b"The invitation, silo-invite:1:...: ")
                    .and_then(|()| stderr.flush());
                asked.map_err(unreadable)?;
            }
            let mut line = Vec::new();
            let mut stdin = io::stdin().lock().take(MAX_BYTES);
            stdin.read_until(b'\n', &mut line).map_err(unreadable)?;
            text(&line)?
        }
    };
    Ok(Some(Invitation::parse(&text)?))
}

/// PowerShell may write UTF-16 or a byte order mark.
fn text(bytes: &[u8]) -> Result<String, JoinError> {
    let bytes = utf16_to_utf8(bytes);
    let text = decode(&bytes).map_err(|cause| JoinError::Input {
        place: "the invitation".to_owned(),
        cause: io::Error::other(cause),
    })?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_powershell_pipes_is_text() {
        let line = "silo-invite:1:x\r\n";
        let utf16 =
            |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
        for bytes in [
            line.as_bytes().to_vec(),
            [b"\xef\xbb\xbf", line.as_bytes()].concat(),
            utf16(line),
            utf16(&format!("\u{feff}{line}")),
        ] {
            assert_eq!(text(&bytes).unwrap(), line);
        }
        assert!(text(b"silo\xff").is_err());
    }

    #[test]
    fn an_invitation_on_the_command_line_is_not_printed() {
        let flags = JoinFlags {
            invitation: Some(Secret::new("silo-invite:1:hush")),
            ..JoinFlags::default()
        };
        assert!(!format!("{flags:?}").contains("hush"));
    }
}
