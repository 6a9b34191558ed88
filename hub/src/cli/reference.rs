//! `silo-hub openapi --markdown`: the OpenAPI document as a page for people, `docs/api.md`.

use std::fmt::Write as _;

use serde_json::Value;

const HEAD: &str = "# The REST interface, complete

`silo-hub openapi --markdown` made this page from the OpenAPI document of the hub, which it serves at `/openapi.json`; do not edit it.
[rest.md](rest.md) shows the interface by example.

";

/// The methods in the order of the page.
const METHODS: [&str; 5] = ["get", "put", "post", "patch", "delete"];

/// The page.
pub(super) fn markdown(json: &[u8]) -> Result<String, serde_json::Error> {
    let document: Value = serde_json::from_slice(json)?;
    let page = Page {
        document: &document,
    };
    Ok(page.render())
}

struct Page<'a> {
    document: &'a Value,
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap_or_default()
}

/// A text in one cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// The last segment of a reference.
fn referred(value: &Value) -> Option<&str> {
    value.get("$ref")?.as_str()?.rsplit('/').next()
}

impl<'a> Page<'a> {
    fn render(&self) -> String {
        let mut page = HEAD.to_owned();
        page += text(&self.document["info"], "description");
        for tag in items(&self.document["tags"]) {
            let name = text(tag, "name");
            let _ = write!(page, "\n## {name}\n\n{}\n", text(tag, "description"));
            for (path, item) in members(&self.document["paths"]) {
                for method in METHODS {
                    if let Some(operation) = item.get(method)
                        && operation["tags"][0] == name
                    {
                        self.operation(&mut page, method, path, operation);
                    }
                }
            }
        }
        page += "\n## Values\n";
        for (name, schema) in members(&self.document["components"]["schemas"]) {
            self.schema(&mut page, name, schema);
        }
        page
    }

    /// What a reference leads to.
    fn resolve(&self, value: &'a Value) -> &'a Value {
        let pointer = value.get("$ref").and_then(Value::as_str);
        let found = pointer.and_then(|pointer| self.document.pointer(pointer.strip_prefix('#')?));
        found.unwrap_or(value)
    }

    fn operation(&self, page: &mut String, method: &str, path: &str, operation: &'a Value) {
        let method = method.to_uppercase();
        let _ = write!(
            page,
            "\n### {method} {path}\n\n{}.",
            text(operation, "summary")
        );
        let description = text(operation, "description");
        if !description.is_empty() {
            let _ = write!(page, " {description}");
        }
        page.push('\n');
        let parameters = items(&operation["parameters"]).map(|parameter| self.resolve(parameter));
        let parameters: Vec<_> = parameters.collect();
        if !parameters.is_empty() {
            page.push_str("\n| parameter | in | value | meaning |\n|---|---|---|---|\n");
            for parameter in parameters {
                let place = text(parameter, "in");
                let _ = writeln!(
                    page,
                    "| `{}` | {place} | {} | {} |",
                    text(parameter, "name"),
                    self.kind(&parameter["schema"]),
                    cell(text(parameter, "description")),
                );
            }
        }
        for (kind, content) in members(&operation["requestBody"]["content"]) {
            let _ = write!(
                page,
                "\nBody: {} as `{kind}`",
                self.kind(&content["schema"])
            );
            let mut separator = ". Examples:\n\n```\n";
            for (_, example) in members(&content["examples"]) {
                let _ = writeln!(page, "{separator}{}", example["value"]);
                separator = "";
            }
            page.push_str(if separator.is_empty() { "```\n" } else { ".\n" });
        }
        self.answers(page, &operation["responses"]);
    }

    fn answers(&self, page: &mut String, responses: &'a Value) {
        page.push_str("\n| status | answer | headers | when |\n|---|---|---|---|\n");
        let mut problems = Vec::new();
        for (status, response) in members(responses) {
            if response.get("$ref").is_some() {
                let slugs = referred(response).unwrap_or_default().split('_');
                problems.extend(slugs.map(|slug| format!("{status} `{slug}`")));
                continue;
            }
            let content: Vec<_> = members(&response["content"])
                .map(|(kind, content)| format!("{} as `{kind}`", self.kind(&content["schema"])))
                .collect();
            let headers = members(&response["headers"])
                .map(|(name, _)| name.as_str())
                .filter(|name| {
                    !matches!(
                        *name,
                        "Silo-Database" | "Silo-Request" | "X-Content-Type-Options"
                    )
                })
                .map(|name| format!("`{name}`"))
                .collect::<Vec<_>>();
            let _ = writeln!(
                page,
                "| {status} | {} | {} | {} |",
                content.join(", "),
                headers.join(", "),
                cell(text(response, "description"))
            );
        }
        if !problems.is_empty() {
            let _ = write!(
                page,
                "\n[Problems](http-errors.md): {}.\n",
                problems.join(", ")
            );
        }
    }

    /// A schema in a few words.
    fn kind(&self, schema: &Value) -> String {
        if let Some(name) = referred(schema) {
            return format!("[{name}](#{})", name.to_lowercase());
        }
        let all: Vec<_> = ["oneOf", "anyOf", "allOf"]
            .iter()
            .flat_map(|parts| items(&schema[*parts]))
            .map(|part| self.kind(part))
            .collect();
        if !all.is_empty() {
            return all.join(" or ");
        }
        if let Some(allowed) = schema["enum"].as_array() {
            let allowed: Vec<_> = allowed.iter().map(|value| format!("`{value}`")).collect();
            return allowed.join(", ");
        }
        let mut kinds: Vec<String> = Vec::new();
        let types = match &schema["type"] {
            Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
            one => one.as_str().into_iter().collect::<Vec<_>>(),
        };
        for kind in types {
            kinds.push(match kind {
                "null" => "`null`".to_owned(),
                "array" if schema.get("items").is_some_and(Value::is_object) => {
                    format!("array of {}", self.kind(&schema["items"]))
                }
                "array" => {
                    let items: Vec<_> = items(&schema["prefixItems"])
                        .map(|item| self.kind(item))
                        .collect();
                    format!("array of {}", items.join(" and "))
                }
                kind => kind.to_owned(),
            });
        }
        let mut limits = Vec::new();
        for (member, words) in [
            ("format", ""),
            ("minimum", "at least "),
            ("maximum", "at most "),
            ("minLength", "characters: at least "),
            ("maxLength", "characters: at most "),
            ("minItems", "entries: at least "),
            ("maxItems", "entries: at most "),
            ("default", "default "),
        ] {
            match &schema[member] {
                Value::Null => {}
                Value::String(text) => limits.push(format!("{words}{text}")),
                other => limits.push(format!("{words}{other}")),
            }
        }
        let limits = if limits.is_empty() {
            String::new()
        } else {
            format!(" ({})", limits.join(", "))
        };
        format!("{}{limits}", kinds.join(" or "))
    }

    fn schema(&self, page: &mut String, name: &str, schema: &'a Value) {
        let _ = write!(page, "\n### {name}\n\n");
        let description = text(schema, "description");
        if !description.is_empty() {
            let _ = write!(page, "{description}\n\n");
        }
        let forms: Vec<_> = items(&schema["anyOf"]).collect();
        if forms.iter().any(|form| form.get("properties").is_some()) {
            for form in forms {
                let _ = write!(page, "{}:\n\n", text(form, "title"));
                self.properties(page, form);
                page.push('\n');
            }
            return;
        }
        if schema.get("properties").is_some() {
            self.properties(page, schema);
            return;
        }
        let _ = write!(page, "{}", cell(&self.kind(schema)));
        let pattern = text(schema, "pattern");
        if !pattern.is_empty() {
            let _ = write!(page, ", `{pattern}`");
        }
        let example = schema.get("example").or(schema["examples"].get(0));
        if let Some(example) = example {
            let _ = write!(page, "; for example `{example}`");
        }
        page.push('\n');
    }

    fn properties(&self, page: &mut String, schema: &'a Value) {
        page.push_str("| member | value | meaning |\n|---|---|---|\n");
        for (name, property) in members(&schema["properties"]) {
            let is_needed = items(&schema["required"]).any(|needed| needed == name);
            let or_absent = if is_needed { "" } else { " (optional)" };
            let described = match text(property, "description") {
                "" => text(self.resolve(property), "description"),
                own => own,
            };
            let _ = writeln!(
                page,
                "| `{name}` | {}{or_absent} | {} |",
                cell(&self.kind(property)),
                cell(described)
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compat::openapi::document;

    #[test]
    fn the_page_in_the_documentation_is_current() {
        let page = markdown(document().json()).unwrap();
        // Not part of the build: the program that writes the page must build while it is not current.
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/api.md");
        let docs = std::fs::read_to_string(path).unwrap();
        assert!(
            page == docs,
            "write it: silo-hub openapi --markdown >docs/api.md"
        );
    }
}
