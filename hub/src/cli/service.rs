//! The hub as a service of Windows: `service install`, `service uninstall`, and `service run`, which the service control
//! manager starts.
//!
//! Messages of a service go nowhere, so that they are written to `hub.log` in the data directory.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;
use silo_shared::log_file::LogFile;
use silo_shared::program::{read_command_line, start_logging_to};
use silo_shared::trusted_file::{Kind, Trust};
use silo_shared::{folders, private_file};
use windows_service::service::{
    Service, ServiceAccess, ServiceAction, ServiceActionType, ServiceControl, ServiceControlAccept,
    ServiceErrorControl, ServiceExitCode, ServiceFailureActions, ServiceFailureResetPeriod,
    ServiceInfo, ServiceStartType, ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_control_handler::{
    ServiceControlHandlerResult, ServiceStatusHandle, register,
};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};
use windows_service::{define_windows_service, service_dispatcher};

use super::{Cli, Failure, say};
use crate::config::base::base;
use crate::config::settings::{DEFAULT_DATA_DIR, HubArgs, HubSettings};
use crate::domain::time::Clock;
use crate::runtime::run as run_hub;

/// The name by which `sc` and `net` know it.
const NAME: &str = "silo-hub";
/// The account, which has few privileges. The name is the same in all languages of Windows.
const ACCOUNT: &str = r"NT AUTHORITY\LocalService";
/// The log in the data directory; a full one is kept as `hub.log.1`.
const LOG: &str = "hub.log";
/// How long starting and stopping may take before Windows reports it.
const PATIENCE: Duration = Duration::from_secs(30);
/// What Windows says of a service that is not there (winerror.h).
const SERVICE_DOES_NOT_EXIST: i32 = 1060;
/// What it says of `service run` that it has not started itself.
const NOT_A_SERVICE: i32 = 1063;
/// How long a stopped service may take to disappear.
const REMOVAL: Duration = Duration::from_secs(60);

/// The commands of the group `service`.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(super) enum ServiceCommand {
    /// Register the hub as a service that starts with Windows, with these flags, and start it
    Install,
    /// Stop the service and remove it; all data stays
    Uninstall,
    /// Serve until the service is stopped; only Windows runs this
    Run,
}

/// Carries a command out.
pub(super) fn service(args: &HubArgs, command: ServiceCommand) -> Result<(), Failure> {
    match command {
        ServiceCommand::Install => install(args),
        ServiceCommand::Uninstall => uninstall(),
        ServiceCommand::Run => match service_dispatcher::start(NAME, service_entry) {
            Err(error) if code(&error) == Some(NOT_A_SERVICE) => Err(Failure::Usage(
                "only the service manager of Windows runs `service run`: use `silo-hub service install`, or `silo-hub serve`".to_owned(),
            )),
            other => other.map_err(|error| failed("cannot run as a service", &error)),
        },
    }
}

/// The error code of Windows.
fn code(error: &windows_service::Error) -> Option<i32> {
    match error {
        windows_service::Error::Winapi(cause) => cause.raw_os_error(),
        _ => None,
    }
}

fn failed(what: &str, error: &windows_service::Error) -> Failure {
    /// Access is denied.
    const DENIED: i32 = 5;
    Failure::Failed(match error {
        windows_service::Error::Winapi(cause) if code(error) == Some(DENIED) => {
            format!("{what}: {cause}: run this from a command prompt of an administrator")
        }
        windows_service::Error::Winapi(cause) => format!("{what}: {cause}"),
        other => format!("{what}: {other}"),
    })
}

fn install(args: &HubArgs) -> Result<(), Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::Failed(format!("cannot find this program: {error}")))?;
    let settings = HubSettings::load(args)?;
    let data_dir = data_dir(&settings)?;
    let arguments = arguments(args, &data_dir)?;
    let trust = Trust::default().without_caller();
    let check = |kind, file: &Path| {
        trust
            .check_with_folders(kind, file)
            .map_err(|error| Failure::Usage(error.to_string()))
    };
    check(Kind::Program, &program)?;
    let named = [&args.config, &args.tls_cert, &args.tls_key, &args.key_file];
    for file in named.into_iter().flatten() {
        check(Kind::Configuration, &absolute(file)?)?;
    }
    let access = ServiceManagerAccess::CONNECT | ServiceManagerAccess::CREATE_SERVICE;
    let manager = ServiceManager::local_computer(None::<&str>, access)
        .map_err(|error| failed("cannot reach the service manager", &error))?;
    let info = ServiceInfo {
        name: NAME.into(),
        display_name: "Silo hub".into(),
        service_type: ServiceType::OWN_PROCESS,
        start_type: ServiceStartType::AutoStart,
        error_control: ServiceErrorControl::Normal,
        executable_path: program,
        launch_arguments: arguments.clone(),
        dependencies: Vec::new(),
        account_name: Some(ACCOUNT.into()),
        account_password: None,
    };
    open_to_service(&data_dir)?;
    let access = ServiceAccess::CHANGE_CONFIG
        | ServiceAccess::START
        | ServiceAccess::STOP
        | ServiceAccess::QUERY_STATUS;
    let service = match manager.open_service(NAME, access) {
        Ok(service) => {
            stop(&service)?;
            service
                .change_config(&info)
                .map_err(|error| failed("cannot change the service", &error))?;
            service
        }
        Err(error) if code(&error) == Some(SERVICE_DOES_NOT_EXIST) => manager
            .create_service(&info, access)
            .map_err(|error| failed("cannot register the service", &error))?,
        Err(error) => return Err(failed("cannot open the service", &error)),
    };
    service
        .set_description("Stores silos of hostname/IP records and serves them over REST.")
        .and_then(|()| service.update_failure_actions(restart_after_failures()))
        .and_then(|()| service.set_failure_actions_on_non_crash_failures(true))
        .map_err(|error| failed("cannot set up the service", &error))?;
    service
        .start::<&OsStr>(&[])
        .map_err(|error| failed("the service is registered, but cannot be started", &error))?;
    let shown: Vec<_> = arguments
        .iter()
        .map(|word| word.to_string_lossy())
        .collect();
    say(format_args!(
        "the service {NAME} is registered and started: {}",
        shown.join(" ")
    ))?;
    say(format_args!(
        "data directory: {0}; log: {0}\\{LOG}",
        data_dir.display()
    ))
}

/// Starts it again 5 s after a failure, later after a minute.
fn restart_after_failures() -> ServiceFailureActions {
    let restart = |seconds| ServiceAction {
        action_type: ServiceActionType::Restart,
        delay: Duration::from_secs(seconds),
    };
    ServiceFailureActions {
        reset_period: ServiceFailureResetPeriod::After(Duration::from_secs(3600)),
        reboot_msg: None,
        command: None,
        actions: Some(vec![restart(5), restart(60), restart(60)]),
    }
}

/// The data directory; the default is not the working directory, which a service does not choose.
fn data_dir(settings: &HubSettings) -> Result<PathBuf, Failure> {
    if settings.data_dir == Path::new(DEFAULT_DATA_DIR) {
        return Ok(folders::program_data().join("hub"));
    }
    absolute(&settings.data_dir)
}

/// The path as the settings read it.
fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(base().join(path))
        .map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))
}

/// The command line of the service, which every user can read.
fn arguments(args: &HubArgs, data_dir: &Path) -> Result<Vec<OsString>, Failure> {
    // All of them by name: one that is added is not forgotten here.
    let HubArgs {
        config,
        listen,
        metrics_listen,
        tls_cert,
        tls_key,
        tls_plain_listen,
        database,
        data_dir: _,
        key_file,
        no_migrate,
        init,
        log_format,
    } = args;
    if database.is_some() {
        return Err(Failure::Usage(
            "--database can hold a password, and every user can read the command line of a service: set `database` in a configuration file".to_owned(),
        ));
    }
    let mut words: Vec<OsString> = vec!["service".into(), "run".into()];
    let mut add = |flag: &str, value: &OsStr| words.extend([flag.into(), value.to_owned()]);
    add("--data-dir", data_dir.as_os_str());
    let paths = [
        ("--config", config),
        ("--tls-cert", tls_cert),
        ("--tls-key", tls_key),
        ("--key-file", key_file),
    ];
    for (flag, path) in paths {
        if let Some(path) = path {
            add(flag, absolute(path)?.as_os_str());
        }
    }
    let addresses = [
        ("--listen", listen),
        ("--metrics-listen", metrics_listen),
        ("--tls-plain-listen", tls_plain_listen),
    ];
    for (flag, address) in addresses {
        if let Some(address) = address {
            add(flag, OsStr::new(&address.to_string()));
        }
    }
    if let Some(format) = log_format {
        add("--log-format", OsStr::new(format.as_str()));
    }
    words.extend(no_migrate.then(|| "--no-migrate".into()));
    words.extend(init.then(|| "--init".into()));
    Ok(words)
}

/// Makes the data directory, which only administrators and the account of the service may use. One that is there already
/// is given to them if others could not have put files into it.
fn open_to_service(data_dir: &Path) -> Result<(), Failure> {
    let trust = Trust::default().without_caller().with_services();
    trust
        .check(Kind::DataDirectory, data_dir)
        .map_err(|error| Failure::Usage(error.to_string()))?;
    private_file::share_with_local_service(data_dir)
        .map_err(|error| Failure::Failed(format!("{}: {error}", data_dir.display())))
}

fn uninstall() -> Result<(), Failure> {
    let manager = ServiceManager::local_computer(None::<&str>, ServiceManagerAccess::CONNECT)
        .map_err(|error| failed("cannot reach the service manager", &error))?;
    let access = ServiceAccess::QUERY_STATUS | ServiceAccess::STOP | ServiceAccess::DELETE;
    let service = match manager.open_service(NAME, access) {
        Ok(service) => service,
        Err(error) if code(&error) == Some(SERVICE_DOES_NOT_EXIST) => {
            return say(format_args!(
                "nothing to remove: there is no service {NAME}"
            ));
        }
        Err(error) => return Err(failed("cannot open the service", &error)),
    };
    stop(&service)?;
    service
        .delete()
        .map_err(|error| failed("cannot remove the service", &error))?;
    say(format_args!(
        "the service {NAME} is stopped and removed; its data directory stays"
    ))
}

/// Stops the service, and waits until it has stopped.
fn stop(service: &Service) -> Result<(), Failure> {
    let query = || {
        service
            .query_status()
            .map(|status| status.current_state)
            .map_err(|error| failed("cannot query the service", &error))
    };
    if query()? == ServiceState::Stopped {
        return Ok(());
    }
    service
        .stop()
        .map_err(|error| failed("cannot stop the service", &error))?;
    let clock = Clock::System;
    let began = clock.monotonic();
    while query()? != ServiceState::Stopped {
        if clock.monotonic().saturating_sub(began) > REMOVAL {
            return Err(Failure::Failed(format!(
                "the service {NAME} does not stop: end its process, and run this again"
            )));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

define_windows_service!(service_entry, serve_as_service);

/// Called by Windows on a thread of its own. The arguments are those of `sc start`, which are not used.
fn serve_as_service(_: Vec<OsString>) {
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let handler = move |control| match control {
        ServiceControl::Interrogate => ServiceControlHandlerResult::NoError,
        ServiceControl::Stop | ServiceControl::Shutdown => {
            // No receiver: the hub has ended already.
            let _ = stop.send(true);
            ServiceControlHandlerResult::NoError
        }
        _ => ServiceControlHandlerResult::NotImplemented,
    };
    let Ok(status) = register(NAME, handler) else {
        // Windows reports a service that says nothing.
        return;
    };
    tell(
        status,
        ServiceState::StartPending,
        ServiceExitCode::NO_ERROR,
    );
    let code = match serve(status, stopped) {
        Ok(()) => ServiceExitCode::NO_ERROR,
        Err(failure) => {
            let (code, error) = match &failure {
                Failure::Usage(error) => (2, error.as_str()),
                Failure::Failed(error) => (1, error.as_str()),
                Failure::BrokenPipe => (1, "the log cannot be written"),
                // Only commands for a terminal print their own failures.
                Failure::Printed => (1, "the service failed"),
            };
            tracing::error!("{error}");
            ServiceExitCode::ServiceSpecific(code)
        }
    };
    tell(status, ServiceState::Stopped, code);
}

fn tell(status: ServiceStatusHandle, state: ServiceState, exit_code: ServiceExitCode) {
    let is_pending = matches!(
        state,
        ServiceState::StartPending | ServiceState::StopPending
    );
    let told = status.set_service_status(ServiceStatus {
        service_type: ServiceType::OWN_PROCESS,
        current_state: state,
        controls_accepted: match state {
            ServiceState::Running => ServiceControlAccept::STOP | ServiceControlAccept::SHUTDOWN,
            _ => ServiceControlAccept::empty(),
        },
        exit_code,
        checkpoint: 0,
        wait_hint: if is_pending { PATIENCE } else { Duration::ZERO },
        process_id: None,
    });
    if let Err(error) = told {
        tracing::warn!("cannot tell Windows that the service is {state:?}: {error}");
    }
}

/// The settings, unless users have been let into the configuration since `service install`.
fn trusted_settings(args: &HubArgs) -> Result<HubSettings, Failure> {
    if let Some(config) = &args.config {
        Trust::default()
            .check(Kind::Configuration, config)
            .map_err(|error| Failure::Usage(error.to_string()))?;
    }
    Ok(HubSettings::load(args)?)
}

fn serve(
    status: ServiceStatusHandle,
    mut stopped: tokio::sync::watch::Receiver<bool>,
) -> Result<(), Failure> {
    let cli: Cli = read_command_line();
    // The command line names the data directory: a broken configuration is logged too.
    let named = cli.settings.data_dir.clone();
    let folder = named.unwrap_or_else(|| folders::program_data().join("hub"));
    let settings = trusted_settings(&cli.settings);
    let format = match &settings {
        Ok(settings) => settings.log_format,
        Err(_) => cli.settings.log_format.unwrap_or_default(),
    };
    let log = LogFile::open(&folder.join(LOG))
        .map_err(|error| Failure::Failed(format!("{}: {error}", folder.display())))?;
    start_logging_to(Some(&log), format, "info,sqlx_core::pool=off");
    let settings = settings?;
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Failure::Failed(format!("cannot start its threads: {error}")))?;
    let listener = crate::serve::listen(settings.listen).map_err(|error| {
        Failure::Failed(format!("cannot listen on {}: {error}", settings.listen))
    })?;
    tell(status, ServiceState::Running, ServiceExitCode::NO_ERROR);
    let stop = async move {
        // An error: the handler is gone, which means the end, too.
        let _ = stopped.wait_for(|is_stopped| *is_stopped).await;
        tell(status, ServiceState::StopPending, ServiceExitCode::NO_ERROR);
    };
    let done = runtime.block_on(run_hub(listener, settings, Clock::System, stop));
    runtime.shutdown_background();
    Ok(done?)
}
