//! The dashboard in Debian's Chromium, driven by Playwright: each scenario is a file of `e2e/dashboard/scenarios`, and runs
//! against a hub on loopback and against one whose name makes its pages no secure context. It fails on whatever the browser
//! complains about too, such as a violation of the Content-Security-Policy.

mod stage;

use stage::{With, run};

#[test]
fn one_signs_in_by_a_token_or_a_link_and_out() {
    run("sign_in", With::Nothing);
}

#[test]
fn one_signs_in_over_tls() {
    run("sign_in", With::Tls);
}

#[test]
fn records_are_added_changed_deleted_and_changes_undone() {
    run("records", With::Nothing);
}

#[test]
fn open_pages_follow_what_changes_in_more_tabs_than_connections() {
    run("following", With::Nothing);
}

#[test]
fn a_silo_is_put_back_to_a_revision_after_a_preview() {
    run("history", With::Nothing);
}

#[test]
fn a_failed_delivery_is_tried_again() {
    run("deliveries", With::Webhook);
}

#[test]
fn a_token_is_made_rotated_and_revoked_with_its_sessions() {
    run("tokens", With::Nothing);
}

#[test]
fn who_may_only_read_sees_no_button_that_is_refused() {
    run("reading", With::Nothing);
}

#[test]
fn everything_but_live_updates_works_without_a_script() {
    run("without_script", With::Nothing);
}

#[test]
fn a_page_says_that_the_hub_is_away_and_recovers() {
    run("restarted", With::Nothing);
}

#[test]
fn a_page_says_that_the_database_is_away_and_recovers() {
    run("database_away", With::Postgres);
}

#[test]
fn markup_in_names_and_comments_is_shown_as_text() {
    run("markup", With::Nothing);
}

#[test]
fn the_main_path_needs_the_keyboard_alone() {
    run("keyboard", With::Nothing);
}

#[test]
fn no_page_has_a_finding_of_axe() {
    run("accessible", With::Nothing);
}

#[test]
fn the_theme_is_chosen_and_kept() {
    run("theme", With::Nothing);
}
