// The theme: that of the system, or light or dark by choice, kept over sign-out.
import assert from "node:assert/strict";
import { menu, signIn } from "../pages.mjs";

const ground = (page) => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
// How light a colour is, from 0 to 255.
const lightness = (colour) => Math.min(...colour.match(/[\d.]+/g).slice(0, 3).map(Number));

export default async function (stage) {
  await stage.silo("office", { db: ["10.0.0.5"] });
  const page = await stage.page({ colorScheme: "dark" });
  await signIn(page, stage.token);
  const dark = await ground(page);
  assert.ok(lightness(dark) < 60, `the system's choice: ${dark}`);

  stage.now("light against the system's choice");
  await menu(page, "Light");
  await page.waitForFunction((before) => getComputedStyle(document.body).backgroundColor !== before, dark);
  assert.ok(lightness(await ground(page)) > 200);
  assert.equal(new URL(page.url()).pathname, "/dashboard/");

  stage.now("it holds on other pages, and after signing out");
  await page.goto("/dashboard/silos/office");
  assert.ok(lightness(await ground(page)) > 200);
  await menu(page, "Sign out");
  await page.waitForURL("**/dashboard/sign-in**");
  assert.ok(lightness(await ground(page)) > 200);

  stage.now("the system's choice again");
  await signIn(page, stage.token);
  await menu(page, "System");
  await page.waitForFunction((before) => getComputedStyle(document.body).backgroundColor === before, dark);
  await page.emulateMedia({ colorScheme: "light" });
  assert.ok(lightness(await ground(page)) > 200);
}
