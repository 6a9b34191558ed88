//! Clients that others wrote, as `docs/ddns-clients.md` sets them up: the page's own text is run, only
//! the hub's address and the token are put in.

mod ddclient;
mod devices;
mod home;
mod inadyn;
mod secrets;

const PAGE: &str = include_str!("../../../docs/ddns-clients.md");

/// The page makes the token of these tests.
#[test]
fn the_pages_token_is_the_one_that_is_tested() {
    let command = "silo-hub token create --data-dir /var/lib/silo-hub --name router --role write --silo home \
                   --hostname router --hostname nas --hostname cam";
    assert!(PAGE.contains(command));
}
