// While the database is away, pages say so and forms change nothing; afterwards everything works by itself.
import assert from "node:assert/strict";
import { addRecord, marked, openSilo, row, signIn } from "../pages.mjs";
import { until } from "../stage.mjs";

export default async function (stage) {
  await stage.silo("office", { db: ["10.0.0.5"] });
  const page = await stage.page();
  await signIn(page, stage.token);
  await openSilo(page, "office");
  const isSame = await marked(page);
  const other = await page.context().newPage();
  await openSilo(other, "office");

  await stage.away(async () => {
    await stage.ask("stop-database");
    stage.now("the open page says that the database is away");
    const banner = page.getByRole("status").filter({ hasText: /database/ });
    await banner.waitFor();

    stage.now("a form says that nothing was changed");
    await addRecord(other, { hostname: "web", ip4: "10.0.0.9" });
    await other.getByText(/database/).first().waitFor();

    stage.now("a new page says so too");
    const third = await page.context().newPage();
    await third.goto("/dashboard/silos/office");
    await third.getByText(/database/).first().waitFor();

    stage.now("afterwards the open page is up to date");
    await stage.ask("start-database");
    await until("writes are taken again", async () => {
      const { status } = await stage.api("PUT", "/silos/office/records/db", { ip: "10.0.0.55" });
      return status === 200;
    });
    await row(page, "db").getByText("10.0.0.55").waitFor();
    await banner.waitFor({ state: "hidden" });
    await third.close();
  });
  await isSame();
  assert.deepEqual(await stage.records("office"), { db: ["10.0.0.55"] });

  stage.now("the session goes on");
  await openSilo(other, "office");
  await addRecord(other, { hostname: "web", ip4: "10.0.0.9" });
  await row(other, "web").waitFor();
  await row(page, "web").waitFor();
}
