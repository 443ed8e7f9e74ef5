/** Labels that are not yet on the server, in the browser's database; in memory alone where there is no such database. */

const NAME = "vertune";
const STORE = "labels";

/** Open the store. Rows are {owner, project, record, version, …}, and there is one for each owner, project and record. */
export async function openStorage() {
  try {
    return new DatabaseRows(await opened());
  } catch {
    return new MemoryRows(); // some browsers have none in private windows
  }
}

function opened() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: ["owner", "project", "record"] });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
    request.onblocked = () => reject(new Error("blocked"));
  });
}

function result(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function finished(transaction) {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onerror = transaction.onabort = () => reject(transaction.error);
  });
}

class DatabaseRows {
  durable = true;

  constructor(database) {
    this.database = database;
  }

  /** Add a row, or replace the one with its key; resolves when it is stored. */
  put(row) {
    const transaction = this.database.transaction(STORE, "readwrite");
    transaction.objectStore(STORE).put(row);
    return finished(transaction);
  }

  /** Return all rows of an owner. */
  all(owner) {
    const range = IDBKeyRange.bound([owner], [owner, []]);
    return result(this.database.transaction(STORE).objectStore(STORE).getAll(range));
  }

  /** Change rows that still have the version that was sent: `change` returns the new row, or null to delete it. */
  settle(rows, change) {
    const transaction = this.database.transaction(STORE, "readwrite");
    const store = transaction.objectStore(STORE);
    for (const row of rows) {
      const request = store.get([row.owner, row.project, row.record]);
      request.onsuccess = () => {
        if (request.result?.version !== row.version) return;
        const next = change(row);
        if (next) store.put(next);
        else store.delete([row.owner, row.project, row.record]);
      };
    }
    return finished(transaction);
  }
}

class MemoryRows {
  durable = false;
  rows = new Map();

  async put(row) {
    this.rows.set(key(row), row);
  }

  async all(owner) {
    return [...this.rows.values()].filter((row) => row.owner === owner);
  }

  async settle(rows, change) {
    for (const row of rows) {
      if (this.rows.get(key(row))?.version !== row.version) continue;
      const next = change(row);
      if (next) this.rows.set(key(row), next);
      else this.rows.delete(key(row));
    }
  }
}

function key(row) {
  return JSON.stringify([row.owner, row.project, row.record]);
}
