//! Error texts for the server's answers. None is permanent: the server's operator may fix the cause
//! before the next attempt.

use hickory_proto::op::ResponseCode;

use super::exchange::Fault;
use super::settings::Server;
use crate::domain::delivery::{Outcome, Trouble};

/// The context of a request, for error texts.
pub(super) struct Asked<'a> {
    /// The server.
    pub(super) server: &'a Server,
    /// The zone, without the trailing dot.
    pub(super) zone: &'a str,
    /// The name to change or to query.
    pub(super) name: &'a str,
    /// The key's name.
    pub(super) key: &'a str,
}

impl Asked<'_> {
    /// The error for a missing answer.
    pub(super) fn fault(&self, fault: &Fault) -> Trouble {
        let Self { server, key, .. } = self;
        match fault {
            Fault::Unsendable(why) => Trouble::of_name(format!("cannot build the message: {why}")),
            Fault::Silent(why) => Trouble::of_sink(why.clone()),
            Fault::BadKey => Trouble::of_sink(format!(
                "{server} does not know the key {key}, or not for this use (NOTAUTH, BADKEY)"
            )),
            Fault::BadSignature => Trouble::of_sink(format!(
                "{server} has another secret for the key {key} (NOTAUTH, BADSIG)"
            )),
            Fault::BadTime(ahead) => {
                let by = match ahead {
                    Some(ahead @ 1..) => format!(": the server's is {ahead} s ahead of ours"),
                    Some(behind @ ..0) => {
                        format!(": the server's is {} s behind ours", behind.unsigned_abs())
                    }
                    Some(0) | None => String::new(),
                };
                Trouble::of_sink(format!("the clocks differ{by} (NOTAUTH, BADTIME)"))
            }
            Fault::Unsigned(code) => {
                let words = self.words(*code);
                // Knot 3.4 reports an unknown key, or one that may not update, without BADKEY (RFC 8945 section 5.2.1).
                let or = match code {
                    ResponseCode::NotAuth => format!(", or does not accept the key {key}"),
                    _ => String::new(),
                };
                Trouble::of_sink(format!("{words}{or}; the answer is not signed"))
            }
            Fault::Unproven => Trouble::of_sink(format!(
                "the answer of {server} is not signed with the key {key} and was ignored"
            )),
        }
    }

    /// The outcome of an unhandled RCODE.
    pub(super) fn outcome(&self, code: ResponseCode) -> Outcome {
        let trouble = self.trouble(code);
        match code {
            // Such a name has never been written, so nothing is lost.
            ResponseCode::NotZone => Outcome::Failed(trouble),
            _ => Outcome::Retry(trouble),
        }
    }

    /// The error for an unhandled RCODE.
    pub(super) fn trouble(&self, code: ResponseCode) -> Trouble {
        let words = self.words(code);
        match code {
            ResponseCode::NotAuth | ResponseCode::ServFail | ResponseCode::NotImp => {
                Trouble::of_sink(words)
            }
            _ => Trouble::of_name(words),
        }
    }

    /// The meaning of an RCODE in this context.
    pub(super) fn words(&self, code: ResponseCode) -> String {
        let Self {
            server,
            zone,
            name,
            key,
        } = self;
        match code {
            ResponseCode::NotAuth => {
                format!("{server} is not the primary server of the zone {zone} (NOTAUTH)")
            }
            ResponseCode::Refused => format!(
                "{server} does not allow the key {key} to change or read {name} (REFUSED): check its policy for the zone {zone}"
            ),
            ResponseCode::NotZone => format!("{name} is not in the zone {zone} (NOTZONE)"),
            ResponseCode::ServFail => {
                format!(
                    "{server} has an internal error with the zone {zone} (SERVFAIL): see its log"
                )
            }
            ResponseCode::FormErr => format!("{server} can't read the message (FORMERR)"),
            ResponseCode::NotImp => format!("{server} does not support DNS UPDATE (NOTIMP)"),
            ResponseCode::YXRRSet | ResponseCode::YXDomain => {
                format!("{name} has a record that must not exist (YXRRSET)")
            }
            ResponseCode::NXRRSet | ResponseCode::NXDomain => {
                format!("{name} lacks a record that must exist (NXRRSET)")
            }
            other => format!("{server} answers {name} with RCODE {}", u16::from(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::delivery::Reach;

    /// Without a signature NOTAUTH may be about the key or the zone; signed, it is about the zone.
    #[test]
    fn an_unsigned_notauth_names_zone_and_key() {
        let server = Server {
            host: "192.0.2.1".to_owned(),
            port: 53,
        };
        let asked = Asked {
            server: &server,
            zone: "home.arpa",
            name: "db.home.arpa",
            key: "silo.",
        };
        let zone = "192.0.2.1:53 is not the primary server of the zone home.arpa (NOTAUTH)";
        let signed = asked.outcome(ResponseCode::NotAuth);
        assert_eq!(signed, Outcome::Retry(Trouble::of_sink(zone)));
        let unsigned = asked.fault(&Fault::Unsigned(ResponseCode::NotAuth));
        assert_eq!(unsigned.reach, Reach::Sink);
        let both = format!("{zone}, or does not accept the key silo.; the answer is not signed");
        assert_eq!(unsigned.why, both);
    }
}
