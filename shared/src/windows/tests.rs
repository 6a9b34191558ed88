use super::*;
use crate::descriptor::{Access, Sid, Trusted};

#[test]
fn a_list_is_set_read_and_copied() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (folder.path().join("one"), folder.path().join("other"));
    std::fs::write(&one, "1").unwrap();
    std::fs::write(&other, "2").unwrap();
    let user = account::user().expect("this user").clone();
    let open = format!("D:P(A;;FA;;;SY)(A;;FA;;;{})(A;;FA;;;WD)", user.as_str());
    protect(&one, &open).unwrap();
    let everyone = crate::descriptor::Other::Granted(Sid::new("WD"));
    let open_to = |path: &Path| {
        descriptor(path)
            .unwrap()
            .open_to(Access::Write, &Trusted::users([user.clone()]))
    };
    assert_eq!(open_to(&one), Some(everyone.clone()), "{:?}", sddl(&one));
    assert_eq!(open_to(&other), None, "{:?}", sddl(&other));
    copy_security(&one, &other).unwrap();
    assert_eq!(open_to(&other), Some(everyone), "{:?}", sddl(&other));
    let private = format!("D:P(A;;FA;;;SY)(A;;FA;;;{})", user.as_str());
    protect(&one, &private).unwrap();
    assert_eq!(open_to(&one), None, "{:?}", sddl(&one));
}

#[test]
fn the_user_of_this_process_owns_what_it_makes() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let user = account::user().expect("this user").clone();
    let found = descriptor(file.path()).unwrap();
    assert_eq!(
        found.open_to(Access::Write, &Trusted::users([user])),
        None,
        "{found:?}"
    );
}
