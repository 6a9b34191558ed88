//! Builds UPDATE messages (RFC 2136, section 2).

use hickory_proto::op::{Message, OpCode, Query};
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use silo_shared::silo::{Addresses, Family};

/// The record types of addresses.
const ADDRESS_TYPES: [RecordType; 2] = [RecordType::A, RecordType::AAAA];

/// A builder for an UPDATE message, which is applied atomically.
pub(super) struct Update(Message);

impl Update {
    /// An update of a zone without requirements or changes.
    pub(super) fn of(zone: &Name) -> Self {
        let mut message = Message::query();
        message.metadata.op_code = OpCode::Update;
        message.add_query(Query::query(zone.clone(), RecordType::SOA));
        Self(message)
    }

    /// The message.
    pub(super) fn into_message(self) -> Message {
        self.0
    }

    fn require(mut self, class: DNSClass, mut record: Record) -> Self {
        record.dns_class = class;
        self.0.add_answer(record);
        self
    }

    fn change(mut self, class: DNSClass, mut record: Record) -> Self {
        record.dns_class = class;
        self.0.add_authority(record);
        self
    }

    /// Requires that a name has a record of a type (section 2.4.1).
    #[must_use]
    pub(super) fn if_there(self, name: &Name, kind: RecordType) -> Self {
        self.require(DNSClass::ANY, Record::update0(name.clone(), 0, kind))
    }

    /// Requires that a name has no record of a type (section 2.4.3).
    #[must_use]
    pub(super) fn if_none(self, name: &Name, kind: RecordType) -> Self {
        self.require(DNSClass::NONE, Record::update0(name.clone(), 0, kind))
    }

    /// Requires that a name has neither a CNAME nor an address.
    #[must_use]
    pub(super) fn if_free(self, name: &Name) -> Self {
        let types = [RecordType::CNAME].into_iter().chain(ADDRESS_TYPES);
        types.fold(self, |update, kind| update.if_none(name, kind))
    }

    /// Requires that a name has exactly these addresses and no CNAME (sections 2.4.2 and 2.4.3).
    /// The answer of a wildcard does not count.
    #[must_use]
    pub(super) fn if_exactly(self, name: &Name, addresses: &Addresses) -> Self {
        let update = self.if_none(name, RecordType::CNAME);
        ADDRESS_TYPES
            .into_iter()
            .fold(update, |update, kind| match address_data(kind, addresses) {
                Some(data) => {
                    update.require(DNSClass::IN, Record::from_rdata(name.clone(), 0, data))
                }
                None => update.if_none(name, kind),
            })
    }

    /// The same, but a family of which `addresses` has none may have any.
    #[must_use]
    pub(super) fn if_with(self, name: &Name, addresses: &Addresses) -> Self {
        let update = self.if_none(name, RecordType::CNAME);
        let data = ADDRESS_TYPES.map(|kind| address_data(kind, addresses));
        data.into_iter().flatten().fold(update, |update, data| {
            update.require(DNSClass::IN, Record::from_rdata(name.clone(), 0, data))
        })
    }

    /// Deletes all records of a type (section 2.5.2).
    #[must_use]
    pub(super) fn delete_all(self, name: &Name, kind: RecordType) -> Self {
        self.change(DNSClass::ANY, Record::update0(name.clone(), 0, kind))
    }

    /// Deletes one record (section 2.5.4).
    #[must_use]
    pub(super) fn delete_one(self, name: &Name, data: RData) -> Self {
        self.change(DNSClass::NONE, Record::from_rdata(name.clone(), 0, data))
    }

    /// Adds a record (section 2.5.1).
    #[must_use]
    pub(super) fn add(self, name: &Name, ttl: u32, data: RData) -> Self {
        self.change(DNSClass::IN, Record::from_rdata(name.clone(), ttl, data))
    }

    /// Adds addresses.
    #[must_use]
    pub(super) fn add_addresses(self, name: &Name, ttl: u32, addresses: &Addresses) -> Self {
        let data = ADDRESS_TYPES.map(|kind| address_data(kind, addresses));
        let data = data.into_iter().flatten();
        data.fold(self, |update, data| update.add(name, ttl, data))
    }

    /// Replaces all addresses of a name in the given families; other families are kept.
    #[must_use]
    pub(super) fn replace_addresses(
        self,
        name: &Name,
        ttl: u32,
        families: &[Family],
        addresses: &Addresses,
    ) -> Self {
        let types = families.iter().map(|family| match family {
            Family::V4 => RecordType::A,
            Family::V6 => RecordType::AAAA,
        });
        types
            .fold(self, |update, kind| update.delete_all(name, kind))
            .add_addresses(name, ttl, addresses)
    }
}

fn address_data(kind: RecordType, addresses: &Addresses) -> Option<RData> {
    match kind {
        RecordType::A => addresses.v4.map(|ip| RData::A(A(ip))),
        _ => addresses.v6.map(|ip| RData::AAAA(AAAA(ip))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn lines(records: &[Record]) -> Vec<String> {
        records
            .iter()
            .map(|r| {
                let data = match &r.data {
                    RData::Update0(_) => String::new(),
                    data => format!(" {data}"),
                };
                format!("{} {} {}{data}", r.ttl, r.dns_class, r.record_type())
            })
            .collect()
    }

    #[test]
    fn a_first_publication_requires_a_free_name_and_adds() {
        let addresses: Addresses = ["192.0.2.1", "2001:db8::1"]
            .map(|ip| ip.parse().unwrap())
            .into_iter()
            .collect();
        let (zone, db) = (name("office.test."), name("db.office.test."));
        let message = Update::of(&zone)
            .if_free(&db)
            .add_addresses(&db, 60, &addresses)
            .into_message();
        assert_eq!(message.op_code, OpCode::Update);
        assert_eq!(message.queries[0].query_type(), RecordType::SOA);
        assert_eq!(message.queries[0].name(), &zone);
        let required = lines(&message.answers);
        assert_eq!(required, ["0 NONE CNAME", "0 NONE A", "0 NONE AAAA"]);
        let changes = lines(&message.authorities);
        assert_eq!(changes, ["60 IN A 192.0.2.1", "60 IN AAAA 2001:db8::1"]);
        // Encoding and decoding preserve the message.
        let read = Message::from_vec(&message.to_vec().unwrap()).unwrap();
        assert_eq!(lines(&read.answers), required);
        assert_eq!(lines(&read.authorities), changes);
    }

    #[test]
    fn a_replacement_deletes_both_families_and_adds_the_current_addresses() {
        let addresses: Addresses = ["2001:db8::1".parse().unwrap()].into_iter().collect();
        let (zone, db) = (name("office.test."), name("db.office.test."));
        let message = Update::of(&zone)
            .if_exactly(&db, &addresses)
            .replace_addresses(&db, 5, &[Family::V4, Family::V6], &addresses)
            .delete_one(&db, RData::A(A([192, 0, 2, 9].into())))
            .into_message();
        assert_eq!(
            lines(&message.answers),
            ["0 NONE CNAME", "0 NONE A", "0 IN AAAA 2001:db8::1"]
        );
        assert_eq!(
            lines(&message.authorities),
            [
                "0 ANY A",
                "0 ANY AAAA",
                "5 IN AAAA 2001:db8::1",
                "0 NONE A 192.0.2.9"
            ]
        );
    }

    #[test]
    fn what_was_published_is_asked_for_without_the_family_of_others() {
        let addresses: Addresses = ["2001:db8::1".parse().unwrap()].into_iter().collect();
        let (zone, db) = (name("office.test."), name("db.office.test."));
        let message = Update::of(&zone).if_with(&db, &addresses).into_message();
        assert_eq!(
            lines(&message.answers),
            ["0 NONE CNAME", "0 IN AAAA 2001:db8::1"]
        );
        assert!(message.authorities.is_empty());
    }

    #[test]
    fn a_replacement_keeps_a_family_that_is_not_named() {
        let addresses: Addresses = ["2001:db8::1".parse().unwrap()].into_iter().collect();
        let (zone, db) = (name("office.test."), name("db.office.test."));
        let message = Update::of(&zone)
            .replace_addresses(&db, 5, &[Family::V6], &addresses)
            .into_message();
        assert_eq!(
            lines(&message.authorities),
            ["0 ANY AAAA", "5 IN AAAA 2001:db8::1"]
        );
    }
}
