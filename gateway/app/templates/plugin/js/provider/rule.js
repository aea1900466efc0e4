/** Whether a user may edit: `editors` lists user ids, separated by commas; `*` is everybody. */
export function mayEdit(editors, userId) {
    const listed = editors.split(",").map((editor) => editor.trim());
    return listed.includes("*") || listed.includes(userId);
}
