;; Exports the right name with other types.
(component
    (core module $guest (func (export "get-permissions") (param i32) (result i32) local.get 0))
    (core instance $g (instantiate $guest))
    (func $get (param "user" u32) (result u32) (canon lift (core func $g "get-permissions")))
    (instance $provider (export "get-permissions" (func $get)))
    (export "auth-gateway:plugin/permission-provider@1.0.0" (instance $provider)))
