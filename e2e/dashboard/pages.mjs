// The words of the dashboard's pages: where scenarios find what they press, fill and read.
import assert from "node:assert/strict";

export const button = (page, name) => page.getByRole("button", { name, exact: true });
export const link = (page, name) => page.getByRole("link", { name, exact: true });
export const notice = (page) => page.getByRole("main").getByRole("status");

// The row of a list that this header names.
export function row(page, name) {
  return page.getByRole("row").filter({ has: page.getByRole("rowheader", { name, exact: true }) });
}

// The form that this button sends.
export function form(page, send) {
  return page.locator("form").filter({ has: button(page, send) });
}

// What assistive technology reads out as the error of a field.
export async function errorOf(field) {
  assert.equal(await field.getAttribute("aria-invalid"), "true");
  return field.evaluate((input) =>
    input
      .getAttribute("aria-describedby")
      .split(" ")
      .map((id) => document.getElementById(id).textContent)
      .join(" "),
  );
}

export async function signIn(page, token) {
  await page.goto("/dashboard/sign-in");
  await page.getByLabel("Token", { exact: true }).fill(token);
  await button(page, "Sign in").click();
  await page.waitForURL("**/dashboard/");
}

// Opens what is folded, if it is.
export async function unfold(page, name) {
  const summary = page.locator("summary").filter({ hasText: name });
  const isOpen = await summary.evaluate((element) => element.parentElement.open);
  if (!isOpen) await summary.click();
}

// A button of the menu of who is signed in.
export async function menu(page, name) {
  await unfold(page, "Signed in as");
  await button(page, name).click();
}

// Opens a silo from the list.
export async function openSilo(page, id) {
  await page.goto("/dashboard/");
  await link(page.getByRole("main"), id).click();
  await page.getByRole("heading", { level: 1, name: id, exact: true }).waitFor();
}

export const addForm = (page) => form(page, "Add");

// Fills the form for a new record; fields that are not named stay.
export async function fillRecord(fields, { hostname, ip4, ip6, comment }) {
  if (hostname !== undefined) await fields.getByLabel("Hostname").fill(hostname);
  if (ip4 !== undefined) await fields.getByLabel("IPv4").fill(ip4);
  if (ip6 !== undefined) await fields.getByLabel("IPv6").fill(ip6);
  if (comment !== undefined) await fields.getByLabel("Comment").fill(comment);
}

export async function addRecord(page, values) {
  await unfold(page, "Add a record");
  await fillRecord(addForm(page), values);
  await button(addForm(page), "Add").click();
}

// Opens the form of a record in its row.
export async function edit(page, hostname) {
  await row(page, hostname).getByRole("link", { name: /^Edit/ }).click();
  return form(page, "Save");
}

// Waits until a page shows what it is about, and that it was not loaded again meanwhile.
export async function marked(page) {
  await page.evaluate(() => (globalThis.notLoadedAgain = true));
  return async () => assert.ok(await page.evaluate(() => globalThis.notLoadedAgain), "the page was loaded again");
}
