//! `GET /auth/login`: a page with all ways to sign in.

use crate::app::App;
use crate::pages;
use crate::request::Request;
use crate::response::Response;

use super::visit::{Visit, bad_return, choices};
use super::{landing, next_of, tells_next};

pub(crate) fn handle(app: &App, request: &Request) -> Response {
    let visit = Visit::new(app, &request.headers);
    let (next, tells_next) = match (next_of(app, request), tells_next(request)) {
        (Ok(Ok(next)), Ok(tells_next)) => (next, tells_next),
        (Ok(Err(error)), _) => return visit.page(&bad_return(&error)),
        (Err(bad), _) | (_, Err(bad)) => return landing::unreadable(&visit, bad),
    };
    let place = next.place();
    let place = Some(place.as_str()).filter(|_| !next.is_on(&app.address.origin));
    let choices = choices(app, &next, tells_next);
    visit.show(pages::CSP, |frame| pages::sign_in(frame, place, &choices))
}
