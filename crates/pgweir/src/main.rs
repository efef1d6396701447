//! The program.
fn main() {
    let path = std::env::args().nth(1).expect("FILE");
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let loaded = match pgweir_config::load(&path, std::env::vars()) {
        Ok(l) => l,
        Err(e) => { eprintln!("{e}"); std::process::exit(1) }
    };
    let pooler = match pgweir_proxy::Pooler::start(loaded.config, path.into()) {
        Ok(p) => p,
        Err(e) => { eprintln!("{e}"); std::process::exit(1) }
    };
    pooler.wait();
}
