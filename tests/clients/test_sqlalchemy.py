"""SQLAlchemy with the dialect sqlalchemy-rqlite, over pyrqlite, against three nodes."""

import datetime
import logging
import unittest

import sqlalchemy as sa
from sqlalchemy import orm

from cluster import Cluster


class Base(orm.DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "author"
    id = sa.Column(sa.Integer, primary_key=True)
    name = sa.Column(sa.String(80), unique=True, nullable=False)
    born = sa.Column(sa.Date)
    books = orm.relationship("Book", back_populates="author", order_by="Book.id", cascade="all, delete-orphan")


class Book(Base):
    __tablename__ = "book"
    __table_args__ = (sa.Index("book_by_title", "title"),)
    id = sa.Column(sa.Integer, primary_key=True)
    title = sa.Column(sa.Text, nullable=False)
    pages = sa.Column(sa.BigInteger)
    price = sa.Column(sa.Float)
    in_print = sa.Column(sa.Boolean)
    cover = sa.Column(sa.LargeBinary)
    author_id = sa.Column(sa.ForeignKey("author.id"))
    author = orm.relationship("Author", back_populates="books")


def setUpModule():
    global cluster
    logging.getLogger("pyrqlite").setLevel(logging.CRITICAL)
    cluster = Cluster()
    unittest.addModuleCleanup(cluster.stop)


class SqlAlchemy(unittest.TestCase):
    def setUp(self):
        # What is made through one node is used through another.
        self.leader = self.engine(cluster.leader())
        self.follower = self.engine(cluster.follower())
        Base.metadata.drop_all(self.leader)
        Base.metadata.create_all(self.follower)

    def engine(self, node, user=""):
        # pyrqlite makes dates of columns that are declared so; SQLAlchemy must not try it again.
        engine = sa.create_engine(f"rqlite+pyrqlite://{user}127.0.0.1:{node.sql_port}/", native_datetime=True)
        self.addCleanup(engine.dispose)
        return engine

    def test_the_schema_is_reflected(self):
        for engine in (self.leader, self.follower):
            inspector = sa.inspect(engine)
            # The dialect does not say which SQLite it talks to, and SQLAlchemy wants to know here.
            engine.dialect.server_version_info = (3, 40)
            self.assertEqual(sorted(inspector.get_table_names()), ["author", "book"])
            columns = {column["name"]: str(column["type"]) for column in inspector.get_columns("book")}
            self.assertEqual(columns["title"], "TEXT")
            self.assertEqual(columns["pages"], "BIGINT")
            self.assertEqual([index["name"] for index in inspector.get_indexes("book")], ["book_by_title"])
            self.assertEqual(inspector.get_foreign_keys("book")[0]["referred_table"], "author")
            self.assertEqual(inspector.get_pk_constraint("book")["constrained_columns"], ["id"])
            self.assertEqual(inspector.get_unique_constraints("author")[0]["column_names"], ["name"])

    def test_objects_are_stored_and_found(self):
        born = datetime.date(1920, 1, 2)
        cover = bytes(range(256))
        with orm.Session(self.follower) as session:
            author = Author(name="Isaac", born=born)
            author.books = [
                Book(title="I", pages=2**62 + 1, price=1.25, in_print=True, cover=cover),
                Book(title="II", pages=None, price=None, in_print=False, cover=None),
            ]
            session.add(author)
            session.commit()
        with orm.Session(self.leader) as session:
            author = session.scalars(sa.select(Author).where(Author.name == "Isaac")).one()
            self.assertEqual(author.born, born)
            first, second = author.books
            self.assertEqual((first.pages, first.price, first.in_print, first.cover), (2**62 + 1, 1.25, True, cover))
            self.assertEqual((second.pages, second.price, second.in_print, second.cover), (None, None, False, None))

    def test_objects_are_changed_and_removed(self):
        with orm.Session(self.leader) as session:
            session.add_all([Author(name="a", books=[Book(title="x"), Book(title="y")]), Author(name="b")])
            session.commit()
        with orm.Session(self.follower) as session:
            session.scalars(sa.select(Author).where(Author.name == "b")).one().name = "c"
            session.delete(session.scalars(sa.select(Author).where(Author.name == "a")).one())
            session.commit()
        with self.leader.connect() as connection:
            names = connection.execute(sa.select(Author.name)).scalars().all()
            books = connection.execute(sa.select(sa.func.count()).select_from(Book)).scalar_one()
        self.assertEqual((names, books), (["c"], 0))

    def test_statements_of_the_core(self):
        author = Author.__table__
        with self.follower.begin() as connection:
            connection.execute(sa.insert(author), [{"name": f"n{number}"} for number in range(10)])
            changed = connection.execute(sa.update(author).where(author.c.id > 5).values(born=datetime.date(2000, 1, 1)))
            self.assertEqual(changed.rowcount, 5)
            removed = connection.execute(sa.delete(author).where(author.c.id <= 2))
            self.assertEqual(removed.rowcount, 2)
        with self.leader.connect() as connection:
            counted = connection.execute(sa.select(author.c.born, sa.func.count()).group_by(author.c.born))
            self.assertEqual(counted.all(), [(None, 3), (datetime.date(2000, 1, 1), 5)])

    def test_a_broken_constraint_is_an_error(self):
        with self.follower.begin() as connection:
            connection.execute(sa.insert(Author.__table__).values(name="twice"))
        with self.assertRaisesRegex(sa.exc.DBAPIError, "UNIQUE constraint failed"), self.leader.begin() as connection:
            connection.execute(sa.insert(Author.__table__).values(name="twice"))

    def test_credentials_pick_the_namespace(self):
        key = cluster.create_namespace("library")
        with self.engine(cluster.follower(), f"library:{key.replace(':', '%3A')}@").begin() as connection:
            self.assertEqual(sa.inspect(connection).get_table_names(), [])


if __name__ == "__main__":
    unittest.main()
