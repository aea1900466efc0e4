//! All settings as a JSON Schema (2020-12), for editors. It rejects unknown keys, and texts that cannot be a value of their
//! setting. Every file that the gateway accepts is valid.

use serde_json::{Map, Value as Json, json};

use super::parse::join;
use super::setting::{Documented, Form, Setting, Shape, children, file_key, is_placeholder};
use super::settings::SECTIONS;

/// The schema of the configuration file.
#[must_use]
pub fn schema() -> Json {
    let mut schema = Map::new();
    schema.insert(
        "$schema".into(),
        "https://json-schema.org/draft/2020-12/schema".into(),
    );
    schema.insert("title".into(), "The configuration of an auth gateway".into());
    schema.extend(table(""));
    let tree = json!({
        "type": "object",
        "additionalProperties": { "anyOf": [of(Form::Scalar), { "$ref": "#/$defs/tree" }] },
    });
    schema.insert("$defs".into(), json!({ "tree": tree }));
    schema.into()
}

fn table(path: &str) -> Map<String, Json> {
    let mut table = Map::new();
    table.insert("type".into(), "object".into());
    let mut properties = Map::new();
    for section in SECTIONS.iter().filter(|section| section.path == path) {
        table
            .entry("description")
            .or_insert_with(|| plain(section.doc).into());
        properties.extend(section.settings.iter().flat_map(property));
    }
    table.insert("additionalProperties".into(), false.into());
    for part in children(SECTIONS, path) {
        let below = self::table(&join(path, part)).into();
        if is_placeholder(part) {
            table.insert("additionalProperties".into(), below);
        } else {
            properties.insert(part.to_owned(), below);
        }
    }
    table.insert("properties".into(), properties.into());
    table
}

/// The properties of a setting: its key, its alias, the key of its file.
fn property(setting: &Setting) -> Vec<(String, Json)> {
    let value = of(setting.form);
    let schema = match setting.shape {
        Shape::Value | Shape::Secret => value,
        Shape::Tree => json!({ "$ref": "#/$defs/tree" }),
        Shape::List | Shape::Secrets => json!({ "type": "array", "items": value }),
        Shape::Texts => json!({ "type": "array", "items": { "type": "string" } }),
        Shape::Pairs => json!({ "type": "object", "additionalProperties": value }),
    };
    let Json::Object(mut schema) = schema else {
        return Vec::new();
    };
    let mut description = plain(setting.doc);
    if let [variable, ..] = setting.variables {
        description.push_str(&format!(" Variable: {variable}."));
    }
    schema.insert("description".into(), description.into());
    if let Documented::Value(default) = (setting.default)() {
        schema.insert("default".into(), literal(&default));
    }
    for (keyword, bound) in [("minimum", setting.min), ("maximum", setting.max)] {
        if let Some(bound) = bound.and_then(|bound| bound.parse::<u64>().ok()) {
            schema.insert(keyword.into(), bound.into());
        }
    }
    let mut properties = vec![(setting.key.to_owned(), Json::Object(schema.clone()))];
    if let Some(alias) = setting.alias {
        schema.insert("deprecated".into(), true.into());
        properties.push((alias.to_owned(), schema.into()));
    }
    if setting.shape.has_file() {
        let description = format!("A file that contains what {} would.", setting.key);
        let file = json!({ "type": "string", "description": description });
        properties.push((file_key(setting.key), file));
    }
    properties
}

pub(super) fn of(form: Form) -> Json {
    match form {
        Form::Scalar => json!({ "type": ["string", "number", "boolean"] }),
        Form::Boolean => json!({ "anyOf": [{ "type": "boolean" }, { "enum": ["true", "false"] }] }),
        Form::Number(pattern, min, max) => {
            let mut number = json!({ "type": "integer", "minimum": min });
            if let (Json::Object(number), Some(max)) = (&mut number, max) {
                number.insert("maximum".into(), max.into());
            }
            json!({ "anyOf": [number, of(Form::Pattern(pattern))] })
        }
        Form::Pattern(pattern) => json!({ "type": "string", "pattern": pattern }),
        Form::Short(most) => {
            json!({ "type": ["string", "number", "boolean"], "minLength": 1, "maxLength": most })
        }
        Form::Words(words) => json!({ "enum": words() }),
        Form::OrOff(form) => json!({ "anyOf": [{ "const": "off" }, of(*form)] }),
    }
}

fn literal(text: &str) -> Json {
    text.parse::<bool>()
        .map(Json::from)
        .or_else(|_| text.parse::<u64>().map(Json::from))
        .unwrap_or_else(|_| text.into())
}

/// Replaces Markdown links, which editors do not show, by their text.
fn plain(markdown: &str) -> String {
    let mut text = String::new();
    let mut rest = markdown.trim();
    while let Some((before, link)) = rest.split_once('[') {
        text.push_str(before);
        let target = link
            .split_once("](")
            .and_then(|(label, rest)| Some((label, rest.split_once(')')?.1)));
        match target {
            Some((label, after)) if !label.contains('[') => {
                text.push_str(label);
                rest = after;
            }
            _ => {
                text.push('[');
                rest = link;
            }
        }
    }
    text + rest
}
