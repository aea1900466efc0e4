/** Whether an address, which may be empty, is one of the domain's. Where no domain is set, none is. */
export function letsIn(domain, email) {
    const of = email.slice(email.lastIndexOf("@") + 1);
    return domain !== "" && email.includes("@") && of.toLowerCase() === domain.toLowerCase();
}
