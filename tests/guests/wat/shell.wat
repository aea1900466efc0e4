;; A component around a core instance `$g`: it exports a permission provider with the right types, lifted from the
;; instance's exports `get-permissions`, `memory`, `cabi_realloc` and `post`. The build script replaces the marker with
;; another file's text, which makes the instance.
(component
    (import "auth-gateway:plugin/types@1.0.0" (instance $types
        (type $value' (variant
            (case "boolean" bool) (case "integer" s64) (case "number" f64) (case "text" string) (case "json" string)))
        (export "value" (type $value (eq $value')))
        (type $permission' (record (field "name" string) (field "value" $value)))
        (export "permission" (type (eq $permission')))))
    (alias export $types "value" (type $value))
    (alias export $types "permission" (type $permission))
    (type $error (variant (case "unavailable" string) (case "failed" string)))

    (;guest;)

    (type $answer (result (list $permission) (error $error)))
    (func $get (param "service" string) (param "user-id" string) (result $answer)
        (canon lift (core func $g "get-permissions")
            (memory (core memory $g "memory"))
            (realloc (core func $g "cabi_realloc"))
            (post-return (core func $g "post"))))

    ;; Only a component that names the types can make an instance whose functions use them.
    (component $names
        (type $value' (variant
            (case "boolean" bool) (case "integer" s64) (case "number" f64) (case "text" string) (case "json" string)))
        (import "value" (type $value (eq $value')))
        (type $permission' (record (field "name" string) (field "value" $value)))
        (import "permission" (type $permission (eq $permission')))
        (type $error' (variant (case "unavailable" string) (case "failed" string)))
        (import "error" (type $error (eq $error')))
        (type $answer (result (list $permission) (error $error)))
        (import "get" (func $get (param "service" string) (param "user-id" string) (result $answer)))

        (export $permission-out "permission" (type $permission))
        (export $error-out "provider-error" (type $error))
        (type $answer-out (result (list $permission-out) (error $error-out)))
        (export "get-permissions" (func $get)
            (func (param "service" string) (param "user-id" string) (result $answer-out))))
    (instance $provider (instantiate $names
        (with "value" (type $value))
        (with "permission" (type $permission))
        (with "error" (type $error))
        (with "get" (func $get))))
    (export "auth-gateway:plugin/permission-provider@1.0.0" (instance $provider)))
