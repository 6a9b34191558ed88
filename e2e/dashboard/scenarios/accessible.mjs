// axe finds nothing on any page, in light and dark, wide and on a phone; no page is wider than a phone; all can be printed.
import assert from "node:assert/strict";
import { crawl } from "../crawl.mjs";
import { findings } from "../findings.mjs";
import { addRecord, edit, openSilo, signIn } from "../pages.mjs";
import { prepare } from "../samples.mjs";

const WIDE = { width: 1280, height: 900 };
const PHONE = { width: 390, height: 844 };

export default async function (stage) {
  // Each look on one of the two stages; both widths and both schemes on each.
  const looks = stage.isFar
    ? [["dark", WIDE], ["light", PHONE]]
    : [["light", WIDE], ["dark", PHONE]];
  await prepare(stage);
  const page = await stage.page();
  const found = [];
  const look = async (what) => {
    for (const [colorScheme, size] of looks) {
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize(size);
      const name = `${what}, ${colorScheme}, ${size.width} px`;
      stage.now(`axe on ${name}`);
      for (const finding of await findings(page)) found.push(`${name}: ${finding}`);
      const width = await page.evaluate(() => document.documentElement.scrollWidth);
      if (width > size.width) found.push(`${name}: the page is ${width} px wide`);
    }
  };

  stage.now("the sign-in page, also with an error");
  await page.goto("/dashboard/sign-in");
  await look("sign-in");
  await page.getByLabel("Token", { exact: true }).fill("nonsense");
  await stage.expecting([422], async () => {
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.locator("[aria-invalid=true]").waitFor();
    await look("sign-in with an error");
  });

  await signIn(page, stage.token);
  const pages = await crawl(page, look);
  assert.ok(pages.size >= 12, [...pages.keys()].join(" "));

  stage.now("forms with errors, and a page that is not there");
  await openSilo(page, "office");
  await stage.expecting([422], async () => {
    await addRecord(page, { hostname: "not a name", ip4: "10.0.0" });
    await page.locator("[aria-invalid=true]").first().waitFor();
    await look("a refused record");
  });
  await openSilo(page, "office");
  await edit(page, "db");
  await look("a record being changed");
  await stage.expecting([404], async () => {
    await page.goto("/dashboard/nothing-here");
    await look("not found");
  });

  stage.now("what axe found");
  assert.equal(found.length, 0, `\n${found.join("\n")}`);

  stage.now("print");
  await openSilo(page, "office");
  const pdf = await page.pdf();
  assert.ok(pdf.length > 1000);
  await page.emulateMedia({ media: "print" });
  for (const name of ["Undo", "Sign out", "Search"]) {
    assert.equal(await page.getByRole("button", { name, exact: true }).filter({ visible: true }).count(), 0, name);
  }
  await page.getByRole("rowheader", { name: "db", exact: true }).waitFor();
  const links = page.getByRole("navigation", { name: "Pages", exact: true }).filter({ visible: true });
  assert.equal(await links.count(), 0, "print shows the links between pages");
}
