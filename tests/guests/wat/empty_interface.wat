;; Exports the right interface without its function.
(component
    (instance $provider)
    (export "auth-gateway:plugin/permission-provider@0.1.0" (instance $provider)))
