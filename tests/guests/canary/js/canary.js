// Plants the user's id in every place where a JavaScript guest can keep something, after searching it for another
// user's. An id is `CANARY-` and 16 hex digits.

const IDS = /CANARY-[0-9a-f]{16}/g;

let moduleVariable;
const moduleArray = [];
const moduleMap = new Map();
const moduleBuffer = new Uint8Array(64);
const byBuiltin = new WeakMap();
const sticky = /./g;

class Static {
    static #hidden;
    static get hidden() {
        return Static.#hidden;
    }
    static set hidden(id) {
        Static.#hidden = id;
    }
}

const closure = (() => {
    let kept;
    return { look: () => kept, plant: (id) => (kept = id) };
})();

const generator = (function* () {
    let kept;
    for (;;) kept = (yield kept) ?? kept;
})();
generator.next();

// The strings of a tagged template are one object for the whole life of the instance.
const template = ((strings) => strings)`template`;

const hidden = (value) => ({ value, configurable: true, enumerable: false, writable: true });

/** By name: what an earlier call left there (nothing in a fresh instance), and how to leave something. */
const places = {
    "array-prototype": {
        look: () => [].canary,
        plant: (id) => Object.defineProperty(Array.prototype, "canary", hidden(id)),
    },
    buffer: {
        look: () => moduleBuffer.some((byte) => byte !== 0),
        plant: (id) => [...id].forEach((letter, at) => (moduleBuffer[at] = letter.charCodeAt(0))),
    },
    builtin: {
        look: () => Math.hypot.canary,
        plant: (id) => {
            const original = Math.hypot;
            Math.hypot = Object.assign((...numbers) => original(...numbers), { canary: id });
        },
    },
    closure,
    generator: {
        look: () => generator.next().value,
        plant: (id) => generator.next(id),
    },
    global: {
        look: () => globalThis.canary,
        plant: (id) => (globalThis.canary = id),
    },
    map: {
        look: () => moduleMap.size > 0,
        plant: (id) => moduleMap.set(id, id),
    },
    module: {
        look: () => moduleVariable || moduleArray.length > 0,
        plant: (id) => {
            moduleVariable = id;
            moduleArray.push(id);
        },
    },
    "object-prototype": {
        look: () => ({}).canary,
        plant: (id) => Object.defineProperty(Object.prototype, "canary", hidden(id)),
    },
    regexp: {
        look: () => sticky.lastIndex > 0,
        plant: (id) => sticky.exec(id),
    },
    static: {
        look: () => Static.hidden,
        plant: (id) => (Static.hidden = id),
    },
    symbol: {
        look: () => globalThis[Symbol.for("canary")],
        plant: (id) => Object.defineProperty(globalThis, Symbol.for("canary"), hidden(id)),
    },
    "weak-map": {
        look: () => byBuiltin.get(Array.prototype) || byBuiltin.get(template),
        plant: (id) => {
            byBuiltin.set(Array.prototype, id);
            byBuiltin.set(template, id);
        },
    },
    // Everything reachable from the global object.
    reachable: {
        look: reachableId,
        plant: (id) => Object.defineProperty(Map.prototype.get, "canary", hidden({ deep: [id] })),
    },
};

// It takes forty times as long as all others together, so only one user in sixteen gets it.
function reachableId(own) {
    if (!own.endsWith("0")) return false;
    const isForeign = (text) => (text.match(IDS) ?? []).some((id) => id !== own);
    const seen = new Set();
    const waiting = [globalThis];
    while (waiting.length > 0) {
        const value = waiting.pop();
        if (typeof value === "string") {
            if (isForeign(value)) return true;
            continue;
        }
        const isObject = (typeof value === "object" && value !== null) || typeof value === "function";
        if (!isObject || seen.has(value)) continue;
        seen.add(value);
        waiting.push(Object.getPrototypeOf(value));
        for (const key of Reflect.ownKeys(value)) {
            const { value: inside, get, set } = Object.getOwnPropertyDescriptor(value, key);
            waiting.push(typeof key === "symbol" ? key.description : key, inside, get, set);
        }
        if (value instanceof Map) for (const [key, inside] of value) waiting.push(key, inside);
        if (value instanceof Set) waiting.push(...value);
    }
    return false;
}

export const permissionProvider = {
    getPermissions(service, userId) {
        const names = Object.keys(places).sort();
        const found = names.filter((name) => places[name].look(userId));
        for (const name of names) places[name].plant(userId);
        const text = (name, val) => ({ name, value: { tag: "text", val } });
        return [text("user", userId), text("looked", names.join(" ")), text("found", found.join(" "))];
    },
};
