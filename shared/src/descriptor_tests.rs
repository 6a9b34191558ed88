use super::*;

/// A user of the machine.
const ALICE: &str = "S-1-5-21-1-2-3-1001";
const BOB: &str = "S-1-5-21-1-2-3-1002";

fn open_to(sddl: &str, access: Access, trusted: &[&str]) -> Option<Other> {
    let trusted = Trusted::users(trusted.iter().map(|sid| Sid::new(sid)));
    Descriptor::parse(sddl)
        .expect("a descriptor")
        .open_to(access, &trusted)
}

fn owner(sid: &str) -> Option<Other> {
    Some(Other::Owner(Sid::new(sid)))
}

fn granted(sid: &str) -> Option<Other> {
    Some(Other::Granted(Sid::new(sid)))
}

#[test]
fn what_others_own_or_can_write_is_found() {
    for (sddl, expected) in [
        // C:\Program Files, as Windows sets it up.
        (
            "O:S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464G:SYD:PAI(A;OICIIO;GA;;;CO)(A;OICIIO;GA;;;SY)(A;;0x1301bf;;;SY)(A;OICIIO;GA;;;BA)(A;;0x1301bf;;;BA)(A;;0x1200a9;;;BU)",
            None,
        ),
        ("O:BAG:SYD:P(A;;FA;;;SY)(A;;FR;;;BA)", None),
        ("O:BAG:SYD:PAI", None),
        (
            "O:SYG:SYD:(A;ID;FA;;;SY)(A;ID;0x1200a9;;;BU)(A;ID;FX;;;WD)",
            None,
        ),
        ("O:S-1-5-18G:S-1-5-18D:(A;;FA;;;S-1-5-32-544)", None),
        // What is denied grants nothing, nor does what only files in the folder get, nor what the owner has.
        (
            "O:BAG:SYD:(D;;FA;;;WD)(OD;;FA;;;WD)(XD;;FA;;;WD;(a))(A;;FA;;;BA)",
            None,
        ),
        ("O:BAG:SYD:(A;OICIIO;FA;;;BU)", None),
        ("O:BAG:SYD:(A;;FA;;;OW)(A;;FA;;;CO)", None),
        // Auditing is no grant: it is in the other list.
        (
            "O:BAG:SYD:(A;;FA;;;BA)S:AI(AU;SAFA;FA;;;WD)(ML;;NW;;;ME)",
            None,
        ),
        // C:\ProgramData: users may add to it.
        (
            "O:SYG:SYD:PAI(A;OICIIO;GA;;;CO)(A;OICI;GA;;;SY)(A;OICI;GA;;;BA)(A;CI;DCLCRPCR;;;BU)(A;OICI;0x1200a9;;;BU)",
            granted("BU"),
        ),
        // A folder made below C:\ : authenticated users may modify it.
        (
            "O:BAG:SYD:AI(A;ID;FA;;;BA)(A;ID;0x1301bf;;;AU)",
            granted("AU"),
        ),
        ("O:BAG:SYD:(A;;0x100116;;;BU)", granted("BU")),
        ("O:BAG:SYD:(A;OICI;FA;;;WD)", granted("WD")),
        ("O:BAG:SYD:(A;;FRFW;;;S-1-5-21-1-2-3-1001)", granted(ALICE)),
        ("O:BAG:SYD:(A;;FR;;;BU)(A;;WD;;;BU)", granted("BU")),
        ("O:BAG:SYD:(A;;WO;;;BU)", granted("BU")),
        ("O:BAG:SYD:(A;;SD;;;LS)", granted("LS")),
        ("O:BAG:SYD:(A;;GW;;;BU)", granted("BU")),
        ("O:BAG:SYD:(A;;0x40000000;;;BU)", granted("BU")),
        ("O:BAG:SYD:(A;;LC;;;AU)", granted("AU")),
        ("O:BAG:SYD:(A;;278;;;BU)", granted("BU")),
        ("O:BAG:SYD:(A;;0426;;;BU)", granted("BU")),
        // For objects and with conditions: they may hold.
        ("O:BAG:SYD:(OA;;FW;;;BU)", granted("BU")),
        (
            "O:BAG:SYD:(XA;;FA;;;BU;(Member_of {SID(BA)} || (@User.a == \"D:(\")))(A;;FA;;;SY)",
            granted("BU"),
        ),
        // What this program does not know.
        ("O:BAG:SYD:(ZA;;FA;;;BU)", granted("BU")),
        ("O:BAG:SYD:(A;;ZZ;;;BU)", granted("BU")),
        ("O:BAG:SYD:(A;;0xnumber;;;BU)", granted("BU")),
        ("O:BAG:SYD:(A;;FW;;;DA)", granted("DA")),
        // Owners.
        ("O:S-1-5-21-1-2-3-1001G:SYD:(A;;FA;;;SY)", owner(ALICE)),
        ("O:DAD:(A;;FA;;;SY)", owner("DA")),
        ("O:LAG:BAD:(A;;FA;;;SY)", owner("LA")),
        ("O:BUG:SYD:P(A;;FA;;;SY)", owner("BU")),
        ("O:BAG:SYD:NO_ACCESS_CONTROL", Some(Other::Everyone)),
        ("O:BAG:SYD:PNO_ACCESS_CONTROL", Some(Other::Everyone)),
    ] {
        assert_eq!(open_to(sddl, Access::Write, &[]), expected, "{sddl}");
    }
}

#[test]
fn adding_to_a_folder_above_is_harmless_and_replacing_is_not() {
    for (list, write, replace, in_root) in [
        // C:\ProgramData and C:\ for users.
        ("(A;CI;DCLCRPCR;;;BU)", true, false, false),
        ("(A;;LC;;;AU)", true, false, false),
        ("(A;;GW;;;BU)", true, false, false),
        ("(A;;DT;;;BU)", true, true, true),
        ("(A;;SD;;;BU)", true, true, false),
        // Another disk for users.
        ("(A;;0x1301bf;;;AU)", true, true, false),
        ("(A;;GA;;;BU)", true, true, true),
        ("(A;;FRFX;;;BU)", false, false, false),
    ] {
        let sddl = format!("O:SYG:SYD:{list}");
        let is_open = |access| open_to(&sddl, access, &[]).is_some();
        assert_eq!(is_open(Access::Write), write, "{list}");
        assert_eq!(is_open(Access::Replace), replace, "{list}");
        assert_eq!(is_open(Access::ReplaceInRoot), in_root, "{list}");
    }
}

#[test]
fn a_secret_is_for_its_users_and_for_services_that_were_let_in() {
    for (sddl, expected) in [
        ("O:BAG:SYD:P(A;;FA;;;SY)(A;;FA;;;BA)", None),
        (
            "O:BAG:SYD:P(A;;FA;;;BA)(A;;FR;;;LS)(A;;FR;;;S-1-5-80-1-2-3)",
            None,
        ),
        ("O:BAG:SYD:P(A;;FX;;;BU)(A;;RC;;;WD)", None),
        ("O:BAG:SYD:(A;ID;0x1200a9;;;BU)", granted("BU")),
        ("O:BAG:SYD:(A;;CC;;;AU)", granted("AU")),
        ("O:BAG:SYD:(A;;GR;;;WD)", granted("WD")),
        ("O:BAG:SYD:(A;;GA;;;WD)", granted("WD")),
        // Can let itself in.
        ("O:BAG:SYD:(A;;WD;;;BU)", granted("BU")),
        ("O:S-1-5-21-1-2-3-1002G:SYD:(A;;FA;;;SY)", owner(BOB)),
        ("O:BAG:SYD:NO_ACCESS_CONTROL", Some(Other::Everyone)),
    ] {
        assert_eq!(open_to(sddl, Access::Read, &[]), expected, "{sddl}");
    }
}

#[test]
fn the_running_user_and_named_owners_are_trusted() {
    let own = format!("O:{ALICE}G:SYD:(A;;FA;;;SY)(A;;FA;;;{ALICE})");
    assert_eq!(open_to(&own, Access::Write, &[ALICE]), None);
    assert_eq!(open_to(&own, Access::Read, &[ALICE]), None);
    assert_eq!(open_to(&own, Access::Write, &[BOB]), owner(ALICE));
    let upstream = "O:BAG:SYD:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;0x1301bf;;;LS)";
    assert_eq!(open_to(upstream, Access::Write, &[ALICE]), granted("LS"));
    assert_eq!(open_to(upstream, Access::Write, &["LS"]), None);
    assert_eq!(open_to(upstream, Access::Write, &["S-1-5-19"]), None);
}

#[test]
fn text_that_is_no_descriptor_is_refused() {
    for sddl in [
        "",
        "O:",
        "O:BA",
        "O:BAG:SY",
        "D:(A;;FA;;;SY)",
        "O:D:(A;;FA;;;SY)",
        "O:BAD:(A;;FA;;;SY",
        "O:BAD:(A;;FA)",
        "owner: Administrators",
        "O:BAD:(XA;;FA;;;BU;(a)",
        "é:O:BAé",
    ] {
        assert_eq!(Descriptor::parse(sddl), Err(Unreadable), "{sddl:?}");
    }
}

#[test]
fn the_folders_of_silo_let_in_who_needs_them_and_no_user() {
    let alice = Sid::new(ALICE);
    for (folder, expected) in [
        (
            Purpose::Top,
            "D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;;0x1200a9;;;LS)".to_owned(),
        ),
        (
            Purpose::Service,
            "D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;0x1301bf;;;LS)".to_owned(),
        ),
        (
            Purpose::Private,
            format!("D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;FA;;;{ALICE})"),
        ),
    ] {
        let list = folder_list(folder, Some(&alice));
        assert_eq!(list, expected);
        let found = Descriptor::parse(&format!("O:BAG:SY{list}")).unwrap();
        let mut trusted = Trusted::users([alice.clone()]);
        let services = found.open_to(Access::Write, &trusted);
        trusted.services = true;
        assert_eq!(found.open_to(Access::Write, &trusted), None, "{folder:?}");
        let expected = (folder == Purpose::Service).then(|| Other::Granted(Sid::new("LS")));
        assert_eq!(services, expected, "{folder:?}");
    }
    assert_eq!(
        folder_list(Purpose::Private, Some(&Sid::new("SY"))),
        "D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)"
    );
}

#[test]
fn a_private_file_is_also_for_the_services_of_its_folder() {
    for (folder, user, more) in [
        ("D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)", ALICE, vec![ALICE]),
        (
            "D:P(A;OICI;FA;;;SY)(A;OICI;0x1301bf;;;LS)",
            "S-1-5-18",
            vec!["LS"],
        ),
        // LOCAL SERVICE itself, and a right that new files do not get.
        (
            "D:P(A;OICI;0x1301bf;;;LS)(A;CI;FA;;;S-1-5-80-1-2-3)",
            "S-1-5-19",
            vec!["LS"],
        ),
        // Users of the folder are not users of the secret.
        (
            "D:AI(A;OICIID;0x1301bf;;;AU)(A;OICI;FA;;;WD)",
            ALICE,
            vec![ALICE],
        ),
        ("D:NO_ACCESS_CONTROL", ALICE, vec![ALICE]),
    ] {
        let folder = Descriptor::parse(&format!("O:BAG:SY{folder}")).unwrap();
        let list = folder.private_file(Some(&Sid::new(user)));
        assert!(list.starts_with("D:P(A;;FA;;;SY)(A;;FA;;;BA)"), "{list}");
        let file = Descriptor::parse(&format!("O:BAG:SY{list}")).unwrap();
        let trusted = Trusted::users(more.iter().map(|sid| Sid::new(sid)));
        assert_eq!(file.open_to(Access::Write, &trusted), None, "{list}");
        for left_out in &more {
            let others = more.iter().filter(|sid| *sid != left_out);
            let rest = Trusted::users(others.map(|sid| Sid::new(sid)));
            let found = file.open_to(Access::Write, &rest);
            assert_eq!(found, granted(left_out), "{list}");
        }
    }
}

#[test]
fn lists_are_compared_by_what_they_grant() {
    let parse = |list: &str| Descriptor::parse(&format!("O:BAG:SY{list}")).unwrap();
    let one = parse("D:AI(A;ID;FA;;;SY)(A;ID;0x1200a9;;;BU)");
    for (other, expected) in [
        ("D:P(A;;0x1200a9;;;S-1-5-32-545)(A;;FA;;;SY)", true),
        ("D:AI(A;ID;FA;;;SY)", false),
        ("D:P(A;;0x1200a9;;;BU)(A;;FA;;;SY)(D;;FW;;;BU)", false),
        ("D:AI(A;ID;FA;;;SY)(A;ID;FR;;;BU)", false),
        ("D:NO_ACCESS_CONTROL", false),
    ] {
        assert_eq!(one.grants_as(&parse(other)), expected, "{other}");
    }
}

#[test]
fn sids_are_shown_with_a_name_that_people_know() {
    for (text, shown) in [
        ("BU", "Users (S-1-5-32-545)"),
        ("S-1-5-32-545", "Users (S-1-5-32-545)"),
        (ALICE, ALICE),
        ("DA", "DA"),
    ] {
        assert_eq!(Sid::new(text).to_string(), shown);
    }
}

#[test]
fn owners_with_all_rights_are_told_from_others() {
    assert!(Sid::new("SY").is_system() && !Sid::new("BA").is_system());
    for (owner, expected) in [("SY", true), ("BA", true), ("BU", false), (ALICE, false)] {
        let found = Descriptor::parse(&format!("O:{owner}D:(A;;FA;;;WD)")).unwrap();
        assert_eq!(found.is_of_system(), expected, "{owner}");
    }
}
