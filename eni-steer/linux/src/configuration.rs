//! The files of the configuration: `config.toml` and, beside it, `conf.d/*.toml` in the order
//! of their names.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use eni_steer_core::policy::config::SourceFile;

/// Where the configuration is when nobody says otherwise.
pub const CONFIG_PATH: &str = "/etc/eni-steer/config.toml";

/// A file that is there could not be read, or one that was named is not there.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the configuration {}", path.display())]
pub struct UnreadableConfig {
    /// The file or directory.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub cause: io::Error,
}

/// Reads the files; none at all is an empty list. `named`: somebody has named the file, so
/// it must be there.
pub fn read_configuration(path: &Path, named: bool) -> Result<Vec<SourceFile>, UnreadableConfig> {
    let fail = |path: &Path, cause| UnreadableConfig {
        path: path.to_owned(),
        cause,
    };
    let mut files = Vec::new();
    match read(path) {
        Ok(file) => files.push(file),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound && !named => {}
        Err(cause) => return Err(fail(path, cause)),
    }
    let directory = path.with_file_name("conf.d");
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(cause)
            if matches!(
                cause.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(files);
        }
        Err(cause) => return Err(fail(&directory, cause)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|cause| fail(&directory, cause))?.path();
        // Editors leave hidden files beside the one they write.
        let hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if path.extension().is_some_and(|end| end == "toml") && !hidden {
            paths.push(path);
        }
    }
    paths.sort();
    for path in paths {
        files.push(read(&path).map_err(|cause| fail(&path, cause))?);
    }
    Ok(files)
}

fn read(path: &Path) -> io::Result<SourceFile> {
    Ok(SourceFile {
        path: path.to_owned(),
        text: fs::read_to_string(path)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_beside_come_after_in_the_order_of_their_names() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("config.toml");
        assert_eq!(read_configuration(&path, false).expect("none"), []);
        read_configuration(&path, true).expect_err("it was named");
        let beside = directory.path().join("conf.d");
        fs::create_dir(&beside).expect("a directory");
        for name in [
            "20-b.toml",
            "10-a.toml",
            "x.toml~",
            ".hidden.toml",
            "x.conf",
        ] {
            fs::write(beside.join(name), name).expect("a file");
        }
        let names = |files: Vec<SourceFile>| -> Vec<String> {
            files.into_iter().map(|file| file.text).collect()
        };
        let files = read_configuration(&path, false).expect("readable");
        assert_eq!(names(files), ["10-a.toml", "20-b.toml"]);
        fs::write(&path, "first").expect("a file");
        let files = read_configuration(&path, true).expect("readable");
        assert_eq!(names(files), ["first", "10-a.toml", "20-b.toml"]);
    }
}
