//! The console.
use crate::message::Inbox;
use crate::report::Refusal;
use crate::stream::Stream;
use crate::worker::Worker;
use pgweir_config::Global;
use std::rc::Rc;
pub(crate) struct Visitor {
    pub(crate) user: String,
    pub(crate) admin: bool,
}
impl Visitor {
    pub(crate) fn admit(global: &Global, user: &str) -> Result<Visitor, Refusal> {
        let _ = global;
        Ok(Visitor {
            user: user.into(),
            admin: true,
        })
    }
}
pub(crate) async fn serve(_worker: &Rc<Worker>, _stream: Stream, _inbox: Inbox, _visitor: Visitor) {
}
