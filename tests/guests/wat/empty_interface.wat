;; Exports the right interface without its function.
(component
    (instance $provider)
    (export "auth-gateway:plugin/permission-provider@1.0.0" (instance $provider)))
