//! The command line: first the runtime's options, then the verb, and its own.

use std::{path::PathBuf, time::Duration};

use clap::{Parser, Subcommand, ValueEnum};

mod update;
mod values;

pub(crate) use update::Update;

/// An OCI runtime, made of the steps' parts
#[derive(Parser)]
#[command(name = "step06-oci", disable_version_flag = true)]
pub(crate) struct Options {
    /// Where the states of containers are kept
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// File to which errors and warnings are added
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,
    /// How they are written there
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) log_format: LogFormat,
    /// Have systemd make the cgroup
    #[arg(long)]
    pub(crate) systemd_cgroup: bool,
    /// How cgroups are made
    #[arg(long, value_enum)]
    pub(crate) cgroup_manager: Option<CgroupManager>,
    /// Accepted for callers: there is no more to be told
    #[arg(long)]
    pub(crate) debug: bool,
    /// Accepted for callers: what may be done the kernel knows
    #[arg(long, value_name = "BOOL", num_args = 0..=1)]
    #[arg(require_equals = true)]
    pub(crate) rootless: Option<Option<String>>,
    /// Print the version
    #[arg(long, short)]
    pub(crate) version: bool,
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,
}

/// How the log is written.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// crun's way to say `--systemd-cgroup`.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub(crate) enum CgroupManager {
    Cgroupfs,
    Systemd,
}

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Make a container, which waits to be started
    Create(Create),
    /// Run what a container was made for
    Start { id: String },
    /// Make a container, start it and wait for its end
    Run(Run),
    /// Print what becomes of a container, as JSON
    State { id: String },
    /// Send a signal to a container
    Kill {
        /// To all of its processes
        #[arg(long, short)]
        all: bool,
        id: String,
        #[arg(default_value = "TERM")]
        signal: String,
    },
    /// Remove what is left of a container
    Delete {
        /// Also one that runs, or that there is not
        #[arg(long, short)]
        force: bool,
        id: String,
    },
    /// Run one more process in a container
    Exec(Exec),
    /// Print the containers
    List {
        #[arg(long, short, value_enum, default_value = "table")]
        format: Format,
        /// Their names only
        #[arg(long, short)]
        quiet: bool,
    },
    /// Print the processes of a container
    Ps {
        #[arg(long, short, value_enum, default_value = "table")]
        format: Format,
        id: String,
        /// Options of ps(1)
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// Stop all processes of a container
    Pause { id: String },
    /// Let them go on
    Resume { id: String },
    /// Change the limits of a container
    Update(Update),
    /// Print what a container uses, as JSON
    Events {
        /// Once, and end
        #[arg(long)]
        stats: bool,
        /// Time between two lines, such as 5s or 500ms
        #[arg(long, default_value = "5s", value_parser = values::interval)]
        interval: Duration,
        id: String,
    },
    /// Print what this runtime can do, as JSON
    Features,
    /// Write a config.json to begin with
    Spec {
        /// Where to write it
        #[arg(long, short, default_value = ".")]
        bundle: PathBuf,
        /// For a container of a plain user
        #[arg(long)]
        rootless: bool,
    },
    /// Refused: there are no checkpoints
    #[command(hide = true, alias = "restore")]
    Checkpoint {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
}

/// What `create` and `run` are told.
#[derive(clap::Args)]
pub(crate) struct Create {
    /// Directory with config.json
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    pub(crate) bundle: PathBuf,
    /// Where to write the process's number, last of all
    #[arg(long, value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,
    /// Unix socket that gets the master of the terminal
    #[arg(long, value_name = "SOCKET")]
    pub(crate) console_socket: Option<PathBuf>,
    /// Cover the host's root, where it can't be taken away
    #[arg(long)]
    pub(crate) no_pivot: bool,
    /// Keep the session keyring of the caller
    #[arg(long)]
    pub(crate) no_new_keyring: bool,
    /// How many descriptors, from 3 on, the process gets besides
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub(crate) preserve_fds: u32,
    pub(crate) id: String,
}

#[derive(clap::Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) create: Create,
    /// Return when it was started
    #[arg(long, short)]
    pub(crate) detach: bool,
    /// Leave what `delete` removes
    #[arg(long)]
    pub(crate) keep: bool,
    /// Accepted for callers: init of the container reaps for itself
    #[arg(long)]
    pub(crate) no_subreaper: bool,
}

#[derive(clap::Args)]
pub(crate) struct Exec {
    /// File with what `process` is in config.json
    #[arg(long, short, value_name = "FILE")]
    pub(crate) process: Option<PathBuf>,
    /// Where to write the process's number, last of all
    #[arg(long, value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,
    /// Unix socket that gets the master of the terminal
    #[arg(long, value_name = "SOCKET")]
    pub(crate) console_socket: Option<PathBuf>,
    /// Return when it was started
    #[arg(long, short)]
    pub(crate) detach: bool,
    /// It gets a terminal
    #[arg(long, short)]
    pub(crate) tty: bool,
    /// Where it begins
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<String>,
    /// A setting more of its environment (repeatable)
    #[arg(long, short, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// Whom it runs as, by numbers
    #[arg(long, short, value_name = "UID[:GID]")]
    pub(crate) user: Option<String>,
    /// A further group (repeatable)
    #[arg(long, short = 'g', value_name = "GID")]
    pub(crate) additional_gids: Vec<u32>,
    /// A further capability (repeatable)
    #[arg(long, short, value_name = "CAP_NAME")]
    pub(crate) cap: Vec<String>,
    /// No exec gives it more rights
    #[arg(long)]
    pub(crate) no_new_privs: bool,
    /// Also if the container is paused: it runs when that goes on
    #[arg(long)]
    pub(crate) ignore_paused: bool,
    /// How many descriptors, from 3 on, the process gets besides
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub(crate) preserve_fds: u32,
    /// A cgroup below the container's, where the process is to be; in the trees
    /// of these controllers, or in all (repeatable)
    #[arg(long, value_name = "[CONTROLLER,...:]PATH")]
    pub(crate) cgroup: Vec<String>,
    pub(crate) id: String,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) args: Vec<String>,
}

/// How a list is printed.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
}
