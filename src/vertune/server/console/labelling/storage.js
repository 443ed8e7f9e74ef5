/** Labels that are not yet on the server, in the browser's database; in memory alone where there is no such database. */

const NAME = "vertune";
const STORE = "labels";

/** Open the store. Rows are {owner, project, record, version, …}, and there is one for each owner, project and record. */
export async function openStorage() {
  try {
    return new Rows(new DatabaseRows(await opened()));
  } catch {
    return new Rows(null); // some browsers have no database in private windows
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

/** Rows in the database; what it does not take, for example because the disk is full, is in memory. */
class Rows {
  constructor(database) {
    this.database = database;
    this.memory = new MemoryRows();
  }

  /** Whether all rows outlast this page. */
  get durable() {
    return this.database !== null && this.memory.rows.size === 0;
  }

  /** Add a row, or replace the one with its key. */
  async put(row) {
    try {
      if (!this.database) throw new Error("no database");
      await this.database.put(row);
      await this.memory.settle([...this.memory.rows.values()].filter((one) => key(one) === key(row)), () => null);
    } catch {
      this.memory.put(row);
    }
  }

  /** Return all rows of an owner. */
  async all(owner) {
    const stored = this.database ? await this.database.all(owner) : [];
    const kept = await this.memory.all(owner);
    const newer = new Set(kept.map(key));
    return [...stored.filter((row) => !newer.has(key(row))), ...kept];
  }

  /** Change rows that still have the version that was sent: `change` returns the new row, or null to delete it. */
  async settle(rows, change) {
    await this.memory.settle(rows, change);
    await this.database?.settle(rows, change);
  }
}

class DatabaseRows {
  constructor(database) {
    this.database = database;
  }

  put(row) {
    const transaction = this.database.transaction(STORE, "readwrite");
    transaction.objectStore(STORE).put(row);
    return finished(transaction);
  }

  all(owner) {
    const range = IDBKeyRange.bound([owner], [owner, []]);
    return result(this.database.transaction(STORE).objectStore(STORE).getAll(range));
  }

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
  rows = new Map();

  put(row) {
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
