//! What a value refers to: `${VAR}` and `file:/path`.

use crate::kinds::Describe;
use crate::problem::ProblemKind;
use crate::source::Origin;
use std::borrow::Cow;
use std::collections::BTreeMap;

const FILE: &str = "file:";

/// Follows what `text`, the value of the setting `key` of kind `kind`, refers to.
///
/// A value from the environment is not searched for `${VAR}`, for it may be a generated password
/// with any characters in it; and what SET gives is taken as it stands, so that the console can
/// read neither files nor the environment.
pub(crate) fn resolve<'t>(
    key: &'static str,
    kind: &dyn Describe,
    text: &'t str,
    origin: &Origin,
    variables: &BTreeMap<String, String>,
) -> Result<Cow<'t, str>, ProblemKind> {
    let (follow_variables, follow_files) = match origin {
        Origin::File { .. } => (kind.expands_variables(), kind.is_secret()),
        Origin::Environment { .. } => (false, kind.is_secret()),
        Origin::Console => (false, false),
    };
    // Whether it is a file is judged by what stands there, not by what a variable says.
    let (text, is_file) = match text.strip_prefix(FILE) {
        Some(path) if follow_files => (path, true),
        _ => (text, false),
    };
    let text = if follow_variables {
        expand(key, text, variables)?
    } else {
        Cow::Borrowed(text)
    };
    if is_file {
        read_secret(key, &text).map(Cow::Owned)
    } else {
        Ok(text)
    }
}

/// `text` with each `${VAR}` replaced, and each `$${` by `${`.
fn expand<'t>(
    key: &'static str,
    text: &'t str,
    variables: &BTreeMap<String, String>,
) -> Result<Cow<'t, str>, ProblemKind> {
    if !text.contains("${") {
        return Ok(Cow::Borrowed(text));
    }
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(escaped) = before.strip_suffix('$') {
            expanded.push_str(escaped);
            expanded.push_str("${");
            rest = after;
            continue;
        }
        expanded.push_str(before);
        let Some((variable, after)) = after.split_once('}').filter(|(name, _)| is_name(name))
        else {
            return Err(ProblemKind::MalformedVariable { key });
        };
        let Some(value) = variables.get(variable) else {
            return Err(ProblemKind::MissingVariable {
                key,
                variable: variable.to_owned(),
            });
        };
        expanded.push_str(value);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(Cow::Owned(expanded))
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// The contents of the file `path` without the line's end that editors leave.
fn read_secret(key: &'static str, path: &str) -> Result<String, ProblemKind> {
    let failed = |reason: String| ProblemKind::SecretFile {
        key,
        path: path.to_owned(),
        reason,
    };
    let mut secret = std::fs::read_to_string(path)
        .map_err(|error| failed(format!("cannot be read: {error}")))?;
    if secret.ends_with('\n') {
        secret.pop();
        if secret.ends_with('\r') {
            secret.pop();
        }
    }
    if secret.is_empty() {
        return Err(failed("is empty".to_owned()));
    }
    Ok(secret)
}

#[cfg(test)]
mod tests;
