//! Reads the configuration files: `config.toml`, then `conf.d/*.toml` from the same directory in
//! the order of their names.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use eni_steer_core::policy::config::SourceFile;

/// The configuration file that is read if the user names none.
pub const CONFIG_PATH: &str = "/etc/eni-steer/config.toml";

/// A configuration file could not be read, or the file that the user named does not exist.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the configuration {}", path.display())]
pub struct UnreadableConfig {
    /// The file or directory that could not be read.
    pub path: PathBuf,
    /// The error of the system call.
    #[source]
    pub cause: io::Error,
}

/// Reads the configuration files. If there are none, the list is empty. `named` means that the user
/// named the file, so a missing file is an error.
///
/// # Errors
/// A file or directory cannot be read, or `named` is set and the file does not exist.
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
        // Some editors create a hidden file beside the one they edit.
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
    fn files_of_conf_d_come_last_in_the_order_of_their_names() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("config.toml");
        assert_eq!(read_configuration(&path, false).expect("none"), []);
        read_configuration(&path, true).expect_err("it was named");
        let conf_d = directory.path().join("conf.d");
        fs::create_dir(&conf_d).expect("a directory");
        for name in [
            "20-b.toml",
            "10-a.toml",
            "x.toml~",
            ".hidden.toml",
            "x.conf",
        ] {
            fs::write(conf_d.join(name), name).expect("a file");
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
