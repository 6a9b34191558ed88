//! PTR records in the configured reverse zones. A reverse name that already has a PTR or a CNAME is
//! left alone; only a PTR to our own name is ever deleted.

use std::collections::BTreeSet;
use std::net::IpAddr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::PTR;
use hickory_proto::rr::{Name, RData, RecordType};
use silo_shared::silo::Addresses;

use super::Call;
use super::settings::Zone;
use super::trouble::Asked;
use super::update::Update;
use crate::domain::delivery::{Outcome, Trouble};

impl Call<'_> {
    /// Removes our PTR from addresses no longer present, and adds it to the present ones.
    pub(super) async fn set_pointers(
        &self,
        before: &BTreeSet<IpAddr>,
        wanted: &Addresses,
    ) -> Result<(), Outcome> {
        let pointer = || RData::PTR(PTR(self.dns_name.clone()));
        let gone = before.iter().filter(|ip| wanted.iter().all(|w| w != **ip));
        for (zone, name) in gone.filter_map(|ip| self.reverse_name(*ip)) {
            let update = Update::of(&zone.name).delete_one(&name, pointer());
            self.send_pointer(zone, &name, update).await?;
        }
        for (zone, name) in wanted.iter().filter_map(|ip| self.reverse_name(ip)) {
            let update = Update::of(&zone.name)
                .if_none(&name, RecordType::CNAME)
                .if_none(&name, RecordType::PTR)
                .add(&name, self.settings().ttl, pointer());
            self.send_pointer(zone, &name, update).await?;
        }
        Ok(())
    }

    /// Whether each of these addresses whose reverse name is in a reverse zone has some PTR.
    pub(super) async fn has_pointers(&self, addresses: &Addresses) -> Result<bool, Trouble> {
        for (zone, name) in addresses.iter().filter_map(|ip| self.reverse_name(ip)) {
            let question = Update::of(&zone.name)
                .if_none(&name, RecordType::CNAME)
                .if_none(&name, RecordType::PTR);
            let answer = self.ask(question.into_message(), zone).await?;
            match answer.response_code {
                ResponseCode::YXRRSet => {}
                ResponseCode::NoError => return Ok(false),
                code => return Err(Trouble::of_name(self.asked(zone).words(code))),
            }
        }
        Ok(true)
    }

    /// An address's reverse name and the innermost configured reverse zone that contains it.
    fn reverse_name(&self, ip: IpAddr) -> Option<(&Zone, Name)> {
        let mut name = Name::from(ip);
        name.set_fqdn(true);
        let zones = self.settings().reverse.iter();
        let zone = zones
            .filter(|zone| zone.name.zone_of(&name))
            .max_by_key(|zone| zone.name.num_labels())?;
        Some((zone, name))
    }

    async fn send_pointer(&self, zone: &Zone, name: &Name, update: Update) -> Result<(), Outcome> {
        // The addresses are already published: a failed PTR must not hold back other names.
        let retry = |why: String| Outcome::Retry(Trouble::of_name(format!("PTR: {why}")));
        let answer = self.ask(update.into_message(), zone).await;
        let answer = answer.map_err(|trouble| retry(trouble.why))?;
        match answer.response_code {
            ResponseCode::NoError | ResponseCode::YXRRSet => Ok(()),
            code => {
                let name = name.to_string();
                let asked = Asked {
                    name: name.trim_end_matches('.'),
                    ..self.asked(zone)
                };
                Err(retry(asked.words(code)))
            }
        }
    }
}
