;; A core module, which is not a component.
(module
    (memory (export "memory") 1)
    (func (export "get-permissions") (param i32 i32 i32 i32) (result i32) i32.const 0))
