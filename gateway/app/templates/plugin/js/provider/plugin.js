// `{{name}}`: a permission provider. It applies the rule to the gateway's question.

import config from "auth-gateway:plugin/config@1.0.0";

import { mayEdit } from "./rule.js";

export const permissionProvider = {
    getPermissions(service, userId) {
        const edit = mayEdit(config.get("editors") ?? "", userId);
        return [{ name: "edit", value: { tag: "boolean", val: edit } }];
    },
};
