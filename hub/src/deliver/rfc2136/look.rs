//! Queries the server without changing anything.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{RData, RecordType};
use silo_shared::silo::Addresses;

use super::Call;
use super::settings::Settings;
use super::trouble::Asked;
use super::update::Update;
use crate::domain::delivery::Trouble;

/// The label that a check asks to delete, with a condition that is not met.
pub(super) const CHECK_LABEL: &str = "_silo-check";

/// The records of a name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Holding {
    pub(super) has_cname: bool,
    pub(super) addresses: BTreeSet<IpAddr>,
}

impl Holding {
    pub(super) fn is_exactly(&self, wanted: &Addresses) -> bool {
        !self.has_cname && self.addresses == wanted.iter().collect()
    }
}

impl fmt::Display for Holding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A name may have hundreds of addresses.
        let texts: Vec<String> = self
            .addresses
            .iter()
            .take(4)
            .map(IpAddr::to_string)
            .collect();
        let more = if self.addresses.len() > 4 {
            ", …"
        } else {
            ""
        };
        write!(f, "{}{more}", texts.join(", "))
    }
}

impl Call<'_> {
    /// The records of the name. If the name does not exist, this may be the answer of a wildcard.
    pub(super) async fn look(&self) -> Result<Holding, Trouble> {
        let zone = &self.settings().zone;
        let ask = |kind| {
            let mut message = Message::query();
            message.add_query(Query::query(self.dns_name.clone(), kind));
            self.ask(message, zone)
        };
        let (a, aaaa) = tokio::join!(ask(RecordType::A), ask(RecordType::AAAA));
        let mut found = Holding::default();
        for answer in [a?, aaaa?] {
            if !matches!(
                answer.response_code,
                ResponseCode::NoError | ResponseCode::NXDomain
            ) {
                let words = self.asked(zone).words(answer.response_code);
                return Err(Trouble::of_name(words));
            }
            // Either query returns a CNAME (RFC 1034, section 3.6.2); the addresses it points to do
            // not matter.
            for record in &answer.answers {
                match &record.data {
                    RData::CNAME(_) => found.has_cname = true,
                    data => found.addresses.extend(data.ip_addr()),
                }
            }
        }
        Ok(found)
    }

    pub(super) async fn observe(&self) -> Result<Addresses, Trouble> {
        let zone = &self.settings().zone;
        let question = self.update().if_free(&self.dns_name).into_message();
        match self.ask(question, zone).await?.response_code {
            ResponseCode::NoError => return Ok(Addresses::default()),
            ResponseCode::YXRRSet => {}
            code => return Err(Trouble::of_name(self.asked(zone).words(code))),
        }
        let found = self.look().await?;
        let addresses: Addresses = found.addresses.iter().copied().collect();
        if found.has_cname {
            Err(Trouble::of_name("name holds a CNAME"))
        } else if !found.is_exactly(&addresses) {
            let why = format!("name has several addresses of a family: {found}");
            Err(Trouble::of_name(why))
        } else {
            Ok(addresses)
        }
    }

    /// Whether the name still has these addresses, no other ones of their families, and their PTRs.
    /// A question of existence, as in an update, is not answered from a wildcard.
    pub(super) async fn still_holds(&self, published: &Addresses) -> Result<bool, Trouble> {
        let zone = &self.settings().zone;
        let question = self.update().if_with(&self.dns_name, published);
        match self.ask(question.into_message(), zone).await?.response_code {
            ResponseCode::NoError => self.has_pointers(published).await,
            // Another address, none, or a CNAME.
            ResponseCode::YXRRSet | ResponseCode::NXRRSet => Ok(false),
            code => Err(self.asked(zone).trouble(code)),
        }
    }

    /// Sends an update without changes to each zone, which checks that the zone exists, then a
    /// deletion with a condition that is not met: BIND and Knot check key and policy first, so the
    /// answer covers both.
    pub(super) async fn check(&self) -> Result<String, Trouble> {
        let Settings {
            server,
            zone,
            reverse,
            ..
        } = self.settings();
        for zone in [zone].into_iter().chain(reverse) {
            let question = Update::of(&zone.name).if_there(&zone.name, RecordType::SOA);
            let answer = self.ask(question.into_message(), zone).await?;
            if answer.response_code != ResponseCode::NoError {
                let asked = Asked {
                    name: zone.text.as_str(),
                    ..self.asked(zone)
                };
                return Err(Trouble::of_sink(asked.words(answer.response_code)));
            }
        }
        let question = self
            .update()
            .if_none(&zone.name, RecordType::SOA)
            .delete_all(&self.dns_name, RecordType::A);
        let answer = self.ask(question.into_message(), zone).await?;
        let Self { key_name, name, .. } = self;
        let mut zones = zone.text.to_string();
        for reverse in reverse {
            zones.push_str(&format!(", {}", reverse.text));
        }
        match answer.response_code {
            ResponseCode::YXRRSet => Ok(format!(
                "{server} accepts updates of {zones} with the key {key_name}"
            )),
            ResponseCode::Refused => Ok(format!(
                "{server} knows {zones} and the key {key_name}, but does not allow it to change {name}: check that its policy covers the names of your records"
            )),
            code => Err(Trouble::of_sink(self.asked(zone).words(code))),
        }
    }
}
