//! Quotes the words of a command line for systemd, cron and Windows.

use super::InstallError;

/// A character that no schedule can hold in one line.
fn refuse_control(word: &str, place: &'static str) -> Result<(), InstallError> {
    match word.chars().find(|c| c.is_control()) {
        None => Ok(()),
        Some(character) => Err(InstallError::Unquotable {
            word: word.escape_debug().to_string(),
            character: character.escape_debug().to_string(),
            place,
        }),
    }
}

/// Whether a word means itself in a unit, in a shell and in a crontab.
fn is_plain(word: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+=:,@".contains(&byte);
    !word.is_empty() && word.bytes().all(plain)
}

/// An argument in `ExecStart=` (systemd.service(5), Command lines): `$` and `%` are doubled, the rest is quoted as in C.
pub(super) fn systemd_argument(word: &str) -> Result<String, InstallError> {
    Ok(systemd_path(word)?.replace('$', "$$"))
}

/// A word of a setting that takes several, such as `ReadWritePaths=`, where variables are not expanded.
pub(super) fn systemd_path(word: &str) -> Result<String, InstallError> {
    refuse_control(word, "a systemd unit")?;
    if is_plain(word) {
        return Ok(word.to_owned());
    }
    let escaped = word.replace('\\', r"\\").replace('"', "\\\"");
    Ok(format!("\"{}\"", systemd_specifiers(&escaped)))
}

/// Text in which systemd expands only specifiers (systemd.unit(5)).
pub(super) fn systemd_specifiers(text: &str) -> String {
    text.replace('%', "%%")
}

/// The program in `ExecStart=`: variables are not expanded in it, and a prefix such as `-` or `@` has a meaning.
pub(super) fn systemd_program(path: &str) -> Result<String, InstallError> {
    if !path.starts_with('/') {
        return Err(InstallError::RelativeProgram(path.to_owned()));
    }
    systemd_path(path)
}

/// A word in the command of a crontab (crontab(5)): quoted for the shell, `%` as `\%`.
///
/// A backslash is refused: implementations of cron differ in what they make of one before another character.
pub(super) fn cron(word: &str) -> Result<String, InstallError> {
    refuse_control(word, "a crontab")?;
    if word.contains('\\') {
        return Err(InstallError::Unquotable {
            word: word.to_owned(),
            character: r"\".to_owned(),
            place: "a crontab",
        });
    }
    if is_plain(word) {
        return Ok(word.to_owned());
    }
    // A quote inside of single quotes: end them, quote it doubly, begin again. No backslash is needed.
    let quoted = format!("'{}'", word.replace('\'', r#"'"'"'"#));
    Ok(quoted.replace('%', r"\%"))
}

/// A word for a Windows program (CommandLineToArgvW): quoted if it has blanks or quotes; backslashes count only before a
/// quote.
pub(super) fn windows(word: &str) -> Result<String, InstallError> {
    let place = "a scheduled task";
    refuse_control(word, place)?;
    // Task Scheduler replaces variables (`%NAME%`) and arguments (`$(Arg0)`), and has no escape for them.
    if let Some(character) = ["%", "$("]
        .into_iter()
        .find(|replaced| word.contains(replaced))
    {
        return Err(InstallError::Unquotable {
            word: word.to_owned(),
            character: character.to_owned(),
            place,
        });
    }
    if !word.is_empty() && !word.contains([' ', '"']) {
        return Ok(word.to_owned());
    }
    let mut quoted = String::from("\"");
    let mut backslashes = 0;
    for character in word.chars() {
        match character {
            '\\' => backslashes += 1,
            '"' => quoted.push_str(&"\\".repeat(backslashes * 2 + 1)),
            _ => quoted.push_str(&"\\".repeat(backslashes)),
        }
        if character != '\\' {
            backslashes = 0;
            quoted.push(character);
        }
    }
    quoted.push_str(&"\\".repeat(backslashes * 2));
    quoted.push('"');
    Ok(quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_systemd_cron_and_windows() {
        for (word, systemd, crontab, task) in [
            (
                "/etc/silo/a.yaml",
                "/etc/silo/a.yaml",
                "/etc/silo/a.yaml",
                "/etc/silo/a.yaml",
            ),
            ("--silo=a,b", "--silo=a,b", "--silo=a,b", "--silo=a,b"),
            ("", "\"\"", "''", "\"\""),
            ("a b", "\"a b\"", "'a b'", "\"a b\""),
            ("$HOME", "\"$$HOME\"", "'$HOME'", "$HOME"),
            ("a\"b", "\"a\\\"b\"", "'a\"b'", "\"a\\\"b\""),
            ("it's", "\"it's\"", r#"'it'"'"'s'"#, "it's"),
            (";", "\";\"", "';'", ";"),
            ("*.lan", "\"*.lan\"", "'*.lan'", "*.lan"),
            ("[::1]", "\"[::1]\"", "'[::1]'", "[::1]"),
            ("é", "\"é\"", "'é'", "é"),
        ] {
            assert_eq!(systemd_argument(word).unwrap(), systemd, "{word}");
            assert_eq!(cron(word).unwrap(), crontab, "{word}");
            assert_eq!(windows(word).unwrap(), task, "{word}");
        }
    }

    #[test]
    fn a_percent_sign_is_doubled_escaped_or_refused() {
        assert_eq!(systemd_argument("50%").unwrap(), "\"50%%\"");
        assert_eq!(cron("50%").unwrap(), r"'50\%'");
        assert!(windows("%TEMP%").is_err());
        assert!(windows("$(Arg0)").is_err());
        assert_eq!(windows("a$b").unwrap(), "a$b");
    }

    #[test]
    fn backslashes_are_doubled_refused_or_kept() {
        assert_eq!(systemd_argument(r"a\b").unwrap(), r#""a\\b""#);
        let error = cron(r"a\b").unwrap_err().to_string();
        assert!(
            error.contains(r"a\b") && error.contains("a crontab"),
            "{error}"
        );
        for (word, quoted) in [
            (r"C:\a\b", r"C:\a\b"),
            (r"C:\a b\", r#""C:\a b\\""#),
            (r#"a\"b c"#, r#""a\\\"b c""#),
        ] {
            assert_eq!(windows(word).unwrap(), quoted);
        }
    }

    #[test]
    fn a_line_break_is_refused_everywhere() {
        for word in ["a\nb", "a\rb", "a\0b", "a\tb", "a\u{85}b"] {
            for refused in [systemd_argument(word), cron(word), windows(word)] {
                let error = refused.unwrap_err().to_string();
                assert!(!error.contains(word), "{error:?}");
                assert!(error.contains("rename"), "{error}");
            }
        }
    }

    #[test]
    fn the_program_of_a_unit_is_an_absolute_path() {
        assert_eq!(
            systemd_program("/opt/my silo/x").unwrap(),
            "\"/opt/my silo/x\""
        );
        assert_eq!(systemd_program("/opt/$x/y").unwrap(), "\"/opt/$x/y\"");
        assert!(systemd_program("-/bin/x").is_err());
        assert!(systemd_program("bin/x").is_err());
    }
}
