//! `gateway provider check`: no error if sign-ins work, and a message for every misconfiguration.

use serde_json::{Value, json};

use super::fake::{Fake, Kind, SECRET, Way};
use super::kinds::one;
use super::start;

/// The output of `gateway provider check` for this provider: the exit code, and the findings that are not ok.
async fn checked(kind: Kind) -> (Option<i32>, Value) {
    let fake = Fake::start(kind).await;
    let gateway = start(std::slice::from_ref(&fake)).await;
    let ran = gateway
        .cli(&["provider", "check", fake.kind.preset, "--json"])
        .await;
    let report =
        serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{}\n{}", ran.stdout, ran.stderr));
    gateway.stop().await;
    (ran.code, report)
}

fn of_level(level: &str, report: &Value) -> Vec<String> {
    let findings = report["findings"].as_array().unwrap().iter();
    findings
        .filter(|finding| finding["level"] == level)
        .map(|finding| {
            format!(
                "{}: {}",
                finding["about"].as_str().unwrap(),
                finding["message"].as_str().unwrap()
            )
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_to_p13_provider_check_reports_no_error_if_sign_ins_work() {
    for preset in [
        "apple",
        "keycloak",
        "entra-tenants",
        "discord",
        "slack",
        "linkedin",
    ] {
        let (code, report) = checked(one(preset)).await;
        assert_eq!(of_level("error", &report), [""; 0], "{report:#}");
        assert_eq!((code, &report["ok"]), (Some(0), &Value::Bool(true)), "{report:#}");
        assert_eq!(
            report["redirect_uri"],
            format!("https://auth.example.org/auth/oauth_callback/{preset}")
        );
        assert!(!report.to_string().contains(SECRET), "{report:#}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_to_p13_provider_check_reports_every_misconfiguration() {
    for (kind, expected) in [
        (
            Kind {
                lines: "client_auth = \"none\"",
                way: Way::Public,
                ..one("google")
            },
            "client: the token endpoint rejected the client: invalid_client",
        ),
        (
            Kind {
                lines: "scopes = [\"openid\", \"calendar\"]",
                ..one("google")
            },
            "sign-in page: the provider rejected the request: invalid_scope",
        ),
        (
            Kind {
                lines: "par = \"never\"",
                par: true,
                ..one("keycloak")
            },
            "pushed requests: the provider accepts only pushed authorization requests",
        ),
        (
            Kind {
                discovery: || json!({ "issuer": "https://another.example.org" }),
                ..one("google")
            },
            "discovery: the provider's issuer is https://another.example.org",
        ),
        (
            Kind {
                discovery: || json!({ "id_token_signing_alg_values_supported": ["HS256"] }),
                ..one("google")
            },
            "keys: the gateway supports none of the provider's algorithms for ID tokens",
        ),
        (
            Kind {
                discovery: || json!({ "id_token_signing_alg_values_supported": ["ES256"] }),
                ..one("google")
            },
            "keys: http://127.0.0.1",
        ),
        (
            Kind {
                lines: "userinfo = \"required\"",
                discovery: || json!({ "userinfo_endpoint": null }),
                ..one("google")
            },
            "userinfo: `userinfo_endpoint` is missing",
        ),
        (
            Kind {
                lines: "client_auth = \"none\"",
                way: Way::Public,
                discovery: || json!({ "token_endpoint_auth_methods_supported": ["tls_client_auth"] }),
                ..one("google")
            },
            "client authentication: the provider does not offer none; it offers tls_client_auth. The gateway supports none of \
             them",
        ),
    ] {
        let (code, report) = checked(kind).await;
        let found = of_level("error", &report);
        assert!(
            found.iter().any(|error| error.starts_with(expected)),
            "{expected}\n{report:#}"
        );
        assert_eq!(
            (code, &report["ok"]),
            (Some(1), &Value::Bool(false)),
            "{report:#}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_to_p13_provider_check_warns_about_incomplete_metadata_if_sign_ins_work() {
    for (kind, expected) in [
        (
            Kind {
                lines: "response_mode = \"form_post\"",
                form_post: true,
                discovery: || json!({ "response_modes_supported": ["query"] }),
                ..one("google")
            },
            "flow: the provider does not list form_post",
        ),
        (
            Kind {
                discovery: || json!({ "token_endpoint_auth_methods_supported": ["private_key_jwt"] }),
                ..one("google")
            },
            "client authentication: the provider does not offer client_secret_post; it offers private_key_jwt. Set \
             client_auth to private_key_jwt",
        ),
    ] {
        let (code, report) = checked(kind).await;
        let found = of_level("warning", &report);
        assert!(
            found.iter().any(|warning| warning.starts_with(expected)),
            "{expected}\n{report:#}"
        );
        assert_eq!(code, Some(0), "{report:#}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p20_provider_check_warns_if_a_provider_cannot_sign_users_out() {
    type Document = fn() -> Value;
    let cases: [(Document, _, _); 4] = [
        (
            || json!({ "end_session_endpoint": "https://id.example.org/logout" }),
            "sign_out = \"provider\"",
            "ok",
        ),
        (
            || json!({ "end_session_endpoint": "https://id.example.org/logout" }),
            "",
            "note",
        ),
        (
            || json!({ "end_session_endpoint": "http://id.example.org/logout" }),
            "sign_out = \"provider\"",
            "warning",
        ),
        (
            || json!({ "end_session_endpoint": null }),
            "sign_out = \"provider\"",
            "warning",
        ),
    ];
    for (discovery, lines, level) in cases {
        let fake = Fake::start(Kind {
            discovery,
            lines,
            ..one("google")
        })
        .await;
        let gateway = start(std::slice::from_ref(&fake)).await;
        let ran = gateway.cli(&["provider", "check", "google", "--json"]).await;
        let report: Value = serde_json::from_str(&ran.stdout).unwrap();
        let findings = report["findings"].as_array().unwrap();
        let found = findings.iter().find(|finding| finding["about"] == "sign-out");
        assert_eq!(found.unwrap()["level"], level, "{report:#}");
        assert_eq!(ran.code, Some(0), "{report:#}");
        gateway.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_to_p13_provider_check_prints_readable_lines() {
    let fake = Fake::start(one("gitlab")).await;
    let gateway = start(std::slice::from_ref(&fake)).await;
    let text = gateway.cli(&["provider", "check", "gitlab"]).await.succeeded();
    assert!(text.starts_with("provider      gitlab ("), "{text}");
    assert!(
        text.contains("\nok       client: the token endpoint accepts the client"),
        "{text}"
    );
    let unknown = gateway.cli(&["provider", "check", "gitlub"]).await.failed();
    assert!(unknown.contains("the configuration has gitlab"), "{unknown}");
    gateway.stop().await;
}
