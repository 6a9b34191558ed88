// Data that fills every page: for the test of all pages, for pictures and for measurements.

export const LONGEST = `${"a".repeat(63)}.${"b".repeat(63)}.${"c".repeat(63)}.${"d".repeat(61)}`;

// This number of hostnames; some have an IPv6 address too, unless a silo would have more than it may.
export function hosts(number) {
  const kinds = ["web", "db", "nas", "printer", "camera", "sensor", "laptop", "build"];
  const entries = [];
  for (let at = 0; at < number; at += 1) {
    const name = `${kinds[at % kinds.length]}-${String(Math.floor(at / kinds.length) + 1).padStart(2, "0")}`;
    const ips = [`10.${(at >> 8) & 255}.${at & 255}.7`];
    if (number < 7000 && at % 3 === 0) ips.push(`2001:db8:85a3::8a2e:${(at + 16).toString(16)}:7334`);
    entries.push([name, ips]);
  }
  return Object.fromEntries(entries);
}

// Silos, changes by several tokens, agents of which one is behind, and tokens of every kind.
export async function prepare(hub) {
  // The first silo of the list: the one that a crawler looks at.
  await hub.silo("office", { db: ["10.0.0.5", "fd00::5"], nas: ["10.0.0.6"], "printer.lan": ["2001:db8:85a3::8a2e:370:7334"] });
  await hub.silo("zero", {});
  await hub.silo("warehouse", hosts(200));
  const upstream = await hub.newToken({ name: "upstream of the laptop", role: "write", silos: ["office"], hostnames: ["laptop", "nas"] });
  const downstream = await hub.newToken({ name: "all downstreams", role: "read", silos: ["*"] });
  await hub.newToken({ name: "monitoring", role: "metrics" });
  await hub.newToken({ name: "contractor", role: "write", silos: ["office", "warehouse"], expires_at: "2099-01-01T00:00:00Z" });
  const by = { token: upstream.secret };
  for (let round = 1; round <= 12; round += 1) {
    await hub.record("office", "nas", { ip: `10.0.0.${60 + round}` }, by);
    if (round % 4 === 0) await hub.record("office", "laptop", { ip: `192.168.${round}.20` }, by);
  }
  await hub.record("office", "db", { comment: "Rack 3, behind the door", ips: ["10.0.0.5", "fd00::5"] });
  await hub.record("office", "printer.lan", { ip: "2001:db8:85a3::8a2e:370:7334", expires_after: 86400 });
  await hub.record("office", "gone", { ip: "10.0.0.99" });
  const { revision: former } = await hub.done("GET", "/silos/office");
  await hub.done("DELETE", "/silos/office/records/gone");
  const { revision } = await hub.done("GET", "/silos/office");
  for (const [name, applied] of [["laptop-7", revision], ["gateway", revision], ["build-server", former]]) {
    await hub.agent("office", name, { applied, token: downstream.secret });
  }
  await hub.agent("office", "laptop", { kind: "upstream", token: upstream.secret });
  // Names that are as long as they may be.
  const longName = "n".repeat(100);
  const long = await hub.newToken({ name: longName, role: "write", silos: ["office", "s".repeat(63)], hostnames: [LONGEST.slice(0, 200)] });
  await hub.silo("s".repeat(63), { [LONGEST]: ["192.168.100.200", "2001:db8:1234:5678:9abc:def0:1234:5678"] });
  await hub.agent("office", "a".repeat(63), { applied: former, token: downstream.secret });
  await hub.done("DELETE", `/tokens/${long.id}`);
  // A wrong credential, for the audit.
  await hub.api("GET", "/silos", undefined, { token: `silo_abcdefgh12_${"x".repeat(43)}` });
  const old = await hub.newToken({ name: "old phone", role: "read", silos: ["office"] });
  await hub.done("DELETE", `/tokens/${old.id}`);
}

// What only pictures and measurements need: many records, and the longest names.
export async function prepareMore(hub) {
  await hub.silo("ten-thousand", hosts(10_000));
  await hub.silo("three", { db: ["10.0.0.5", "fd00::5"], nas: ["10.0.0.6"], printer: ["10.0.0.9"] });
  await hub.silo("with-long-names", {
    [LONGEST]: ["192.168.100.200", "2001:db8:1234:5678:9abc:def0:1234:5678"],
    [LONGEST.replaceAll("a", "x")]: ["192.168.100.201"],
    short: ["10.0.0.1"],
  });
  const comment = "A long comment, as people write them who explain what a machine is for, where it is and who knows its password. ".repeat(4);
  await hub.record("with-long-names", LONGEST, { ips: ["192.168.100.200", "2001:db8:1234:5678:9abc:def0:1234:5678"], comment: comment.slice(0, 400) });
  await hub.newToken({ name: "n".repeat(100), role: "write", silos: ["s".repeat(63), "with-long-names"], hostnames: [LONGEST.slice(0, 200)] });
}
